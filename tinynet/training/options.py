"""How a run is asked for, and how it ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tinynet.checkpoints.training_state import Progress
from tinynet.data.sources import OnCorrupt
from tinynet.training.evaluation import MetricSums
from tinynet.training.schedule import total_steps


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How a run is carried out. None of it changes what is computed, but for rounding.

    Attributes:
        output: folder for everything that is written.
        device: what the framework calls it.
        precision: of convolutions and classifier.
        compiled: whether the step is compiled first.
        micro_batch: most images that pass through the net at once, None for no limit. It changes
            over how many images batch norm averages.
        workers: processes that prepare images.
        on_corrupt: what happens to images that cannot be read.
        log_every: steps from one line of the log to the next.
        save_every: steps from one checkpoint to the next, besides one each epoch.
        evaluate_every: epochs from one evaluation to the next.
        keep_every: epochs from one checkpoint that is kept to the next.
        stop_after: steps after which to stop, resumably, None for the whole recipe.
        command: the command line, for the record.
    """

    output: Path
    device: str
    precision: str
    compiled: bool
    micro_batch: int | None = None
    workers: int = 0
    on_corrupt: OnCorrupt = "stop"
    log_every: int = 50
    save_every: int | None = None
    evaluate_every: int = 1
    keep_every: int | None = None
    stop_after: int | None = None
    command: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Scores:
    """An evaluation: with the weights as they are, and with the averaged ones where there are.

    ``skipped`` has a message for each corrupt image that this process could not evaluate on.
    """

    raw: MetricSums
    ema: MetricSums | None
    skipped: tuple[str, ...] = ()

    @property
    def best(self) -> MetricSums:
        """With the averaged weights, where there are any."""
        return self.ema or self.raw


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``loss`` is that of the last step, NaN without one; ``stopped_by`` is a
    signal's number, 0 where it was none.
    """

    progress: Progress
    scores: Scores | None
    loss: float
    checkpoint: Path
    stopped_by: int


def last_step(progress: Progress, options: Options) -> int:
    """Returns the step after which a run ends: the recipe's last, or an earlier one."""
    total = total_steps(progress.recipe, progress.images)
    return total if options.stop_after is None else min(total, options.stop_after)


def after_step(progress: Progress) -> Progress:
    """Returns the progress after one more step."""
    averaged = progress.recipe.ema is not None
    return dataclasses.replace(
        progress, step=progress.step + 1, ema_updates=progress.ema_updates + averaged
    )
