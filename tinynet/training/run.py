"""A training run as its user sees it: the folder, the log, the progress bar, stopping.

Everything about a run that is not the training itself, and so the same for both twins.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tinynet.checkpoints.training_state import Best, Progress, TrainingState, save_training_state
from tinynet.data.sampling import epoch_ends
from tinynet.data.sources import OnCorrupt
from tinynet.net.manifest import StateError
from tinynet.recipe import describe_difference, recipe_document
from tinynet.spec import spec_document
from tinynet.training.evaluation import MetricSums, NotFiniteError
from tinynet.training.run_log import Journal
from tinynet.training.schedule import total_steps
from tinynet.utils.atomic_files import write_atomically

LAST, BEST = "last.safetensors", "best.safetensors"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The terminal sends Ctrl-C to every process, and a launcher sends it on: the same one once more.
_ECHO_SECONDS = 1.0


class TrainingError(ValueError):
    """A run that cannot start or go on. The message is one line."""


class DivergedError(TrainingError):
    """A run whose loss or net is not finite any more.

    Attributes:
        epoch: how far it was when that was seen.
    """

    def __init__(self, message: str, epoch: float):
        super().__init__(message, epoch)
        self.epoch = epoch

    def __str__(self) -> str:
        return str(self.args[0])


class Report(Protocol):
    """What a step gives back, on the device still: the loss, and the share that wants to stop."""

    def tolist(self) -> list[float]: ...


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


def check_resumed(found: Progress, asked: Progress, source: str) -> None:
    """Refuses to go on with another run than the one that was interrupted.

    Args:
        found: of the checkpoint.
        asked: what the command line and the data say.
        source: what to call the checkpoint in errors.

    Raises:
        TrainingError: naming what differs.
    """
    if found.spec != asked.spec:
        raise TrainingError(
            f"{source}: trains {found.spec.name}, expected {asked.spec.name} as named and with "
            "the classes of the data"
        )
    difference = describe_difference(found.recipe, asked.recipe)
    if difference:
        raise TrainingError(f"{source}: was made with another recipe: {difference}")
    if found.images != asked.images or found.data_sha256 != asked.data_sha256:
        raise TrainingError(
            f"{source}: was made on {found.images} other images than the {asked.images} of the "
            "data named (their names or labels differ)"
        )


def check_same_start(
    progress: Progress,
    processes: int,
    total: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
) -> None:
    """Refuses to train with processes that would go on from different places.

    Args:
        progress: where this process starts.
        processes: how many there are.
        total: sums numbers over all of them.

    Raises:
        TrainingError: in at least one of the processes, where they differ.
    """
    text = json.dumps([
        spec_document(progress.spec), recipe_document(progress.recipe), progress.seed,
        progress.data_sha256, progress.step,
    ])  # fmt: skip
    # Three bytes: a sum of them is exact even in the float32 of some devices.
    mark = int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "big")
    if total(np.array([mark], np.float64))[0] != processes * mark:
        raise TrainingError(
            "the processes that train together have different checkpoints, data or settings: give "
            "all of them the same command, and an --output and data that all of them share"
        )


def check_output(folder: Path) -> None:
    """Refuses a place where no folder can be written to, before anything is computed.

    Raises:
        TrainingError: naming what is in the way.
    """
    place = folder.absolute()
    while not place.exists() and not place.is_symlink():
        place = place.parent
    if not place.is_dir():
        raise TrainingError(f"--output is {folder}, but {place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise TrainingError(f"--output is {folder}, but nothing can be written to {place}")


def after_step(progress: Progress) -> Progress:
    """The progress after one more step."""
    averaged = progress.recipe.ema is not None
    return dataclasses.replace(
        progress, step=progress.step + 1, ema_updates=progress.ema_updates + averaged
    )


def last_step(progress: Progress, options: Options) -> int:
    """The step behind which a run ends: that of the recipe, or before."""
    total = total_steps(progress.recipe, progress.images)
    return total if options.stop_after is None else min(total, options.stop_after)


class Run:
    """Keeps a run's records while it is trained. Only the first process writes.

    Args:
        options: how it is carried out.
        progress: where it starts.
        rank: number of this process.
        ranks: how many there are.

    An error inside about numbers that are not finite becomes a DivergedError that says where.

    Example:
        >>> with Run(options, progress, rank, ranks) as run: ...
    """

    def __init__(self, options: Options, progress: Progress, rank: int, ranks: int):
        self.options = options
        self.progress = progress
        self.ranks = ranks
        self.writes = rank == 0
        self.signal = 0
        self.scores: Scores | None = None
        self.loss = math.nan
        self.skipped = 0
        self._asked_at = 0.0
        self._stops = False
        self._told: set[str] = set()
        self._pending: tuple[Progress, float, Report, float] | None = None
        self._losses: list[float] = []
        self._rate = 0.0
        self._since = (time.perf_counter(), progress.step)
        self._stack = ExitStack()
        self._journal: Journal | None = None
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Run:
        with self._stack as stack:
            for number in _SIGNALS:
                stack.callback(signal.signal, number, signal.signal(number, self._asked))
            if self.writes:
                self._open()
            self._stack = stack.pop_all()  # to be closed at the exit, and not yet
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._stack.close()
        if isinstance(error, StateError | NotFiniteError):
            # Whoever reads the net checks all of it; all but the numbers was right at the start.
            what = f"the net is not finite ({str(error).partition(';')[0]})"
            raise self._diverged(what) from None

    @property
    def asked_to_stop(self) -> bool:
        """Whether this process got a signal to."""
        return bool(self.signal)

    @property
    def evaluation_is_due(self) -> bool:
        """Whether the recipe or ``evaluate_every`` asks for one behind the last step."""
        progress = self.progress
        recipe, images = progress.recipe, progress.images
        return progress.step == total_steps(recipe, images) or (
            epoch_ends(progress.step - 1, recipe.batch_size, images)
            and int(progress.epoch) % self.options.evaluate_every == 0
        )

    def step_done(
        self, progress: Progress, learning_rate: float, report: Report, skipped: tuple[str, ...]
    ) -> bool:
        """Notes a step; what the step before it reported is read now, so that the device need
        not wait for it.

        Args:
            progress: after the step.
            learning_rate: of the step.
            report: of the step.
            skipped: messages about corrupt images in its batch.

        Returns:
            Whether some process was asked to stop.

        Raises:
            DivergedError: the loss is not finite.
        """
        self.settle()
        self.progress = progress
        self._pending = (progress, learning_rate, report, time.perf_counter())
        self.skipped += len(skipped)
        self._tell_skipped(skipped)
        # All processes stop behind the same step: one alone need not ask the others.
        return self._stops or (self.ranks == 1 and self.asked_to_stop)

    def settle(self) -> None:
        """Reads the last report; nothing is evaluated or saved before.

        Raises:
            DivergedError: the loss is not finite.
        """
        if self._pending is None:
            return
        progress, rate, report, now = self._pending
        self._pending = None
        loss, stop = report.tolist()
        self.progress, self._rate = progress, rate
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        self.loss = loss
        self._losses.append(loss)
        if self._bar is not None:
            self._bar.update(progress.recipe.batch_size)
            self._bar.set_postfix_str(f"loss={loss:.4f}, lr={rate:.3g}", refresh=False)
        if progress.step % self.options.log_every == 0:
            self._log_training(progress, now)
        self._stops = self._stops or stop > 0

    def evaluated(self, scores: Scores) -> Progress:
        """Notes an evaluation.

        One that stands here only because the run is to stop cannot be the best: whether a run was
        interrupted changes nothing.

        Returns:
            The progress, with the best score so far in it.
        """
        self.scores = scores
        metric, value = "ema_top1" if scores.ema else "top1", scores.best.top1
        best, progress = self.progress.best, self.progress
        if self.evaluation_is_due and (best is None or value > best.value):
            best = Best(metric, value, progress.step)
            self.progress = dataclasses.replace(progress, best=best)
        record: dict[str, Any] = {
            "kind": "evaluation", "step": progress.step, "epoch": progress.epoch,
            "images": scores.raw.images, "top1": scores.raw.top1, "top5": scores.raw.top5,
            "loss": scores.raw.mean_loss, "skipped": len(scores.skipped),
        }  # fmt: skip
        if scores.ema:
            record |= {
                "ema_top1": scores.ema.top1, "ema_top5": scores.ema.top5,
                "ema_loss": scores.ema.mean_loss,
            }  # fmt: skip
        self._write(record)
        self._tell_skipped(scores.skipped)
        averaged = f", averaged {scores.ema.top1:.2f} %" if scores.ema else ""
        self._tell(
            f"epoch {progress.epoch:6.2f}  step {progress.step}  loss {self.loss:.4f}  top-1 "
            f"{scores.raw.top1:.2f} %{averaged}"
        )
        self._since = (time.perf_counter(), progress.step)
        return self.progress

    def save(self, state: TrainingState, epoch_ends: bool) -> None:
        """Writes the last checkpoint, and the best and those to keep where they are due.

        Raises:
            StateError: a number of the state is not finite.
        """
        if not self.writes:
            return
        progress, keep = state.progress, self.options.keep_every
        names: list[str] = []
        if epoch_ends and keep is not None and int(progress.epoch) % keep == 0:
            names.append(f"epoch_{int(progress.epoch):05d}.safetensors")
        if progress.best is not None and progress.best.step == progress.step:
            names.append(BEST)
        # The last one last: a run that is killed here does again what is missing.
        first, *others = (self.options.output / name for name in (*names, LAST))
        save_training_state(first, state)
        for path in others:
            # The same bytes, without packing and hashing them again.
            write_atomically(path, partial(shutil.copyfile, first))

    def outcome(self) -> Outcome:
        """How it ended."""
        stopped_by = 0
        if self.progress.step < last_step(self.progress, self.options):
            # Without a signal of its own: some other process got one.
            stopped_by = self.signal or signal.SIGTERM
        return Outcome(
            self.progress, self.scores, self.loss, self.options.output / LAST, stopped_by
        )

    def _asked(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.signal:
            self.signal, self._asked_at = number, now
        elif number == signal.SIGINT and now - self._asked_at > _ECHO_SECONDS:
            raise KeyboardInterrupt  # a person's second Ctrl-C: at once

    def _open(self) -> None:
        options, progress = self.options, self.progress
        how = dataclasses.asdict(options)
        del how["output"], how["command"]
        self._journal = self._stack.enter_context(
            Journal(options.output, progress, options.command, {"processes": self.ranks, **how})
        )
        batch, last = progress.recipe.batch_size, last_step(progress, options)
        # disable=None: no bar where nobody looks, in a file or a pipe.
        self._bar = self._stack.enter_context(
            tqdm(
                total=last * batch, initial=progress.step * batch, unit=" images",
                disable=None, smoothing=0.05, dynamic_ncols=True,
            )
        )  # fmt: skip

    def _log_training(self, progress: Progress, now: float) -> None:
        since, step = self._since
        self._since = (now, progress.step)
        seen = (progress.step - step) * progress.recipe.batch_size
        self._write(
            {
                "kind": "train", "step": progress.step, "epoch": progress.epoch,
                "loss": sum(self._losses) / len(self._losses), "learning_rate": self._rate,
                "images_per_second": seen / (now - since), "skipped": self.skipped,
            }
        )  # fmt: skip
        self._losses.clear()

    def _write(self, record: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.write(record)

    def _tell_skipped(self, messages: tuple[str, ...]) -> None:
        # Each process of its own images, and once of each.
        for message in messages:
            if message not in self._told:
                self._told.add(message)
                self._tell(f"skipped: {message}", everyone=True)

    def _tell(self, message: str, everyone: bool = False) -> None:
        if self.writes or everyone:
            # A run goes on when nobody reads its messages any more.
            with suppress(OSError):
                tqdm.write(message, file=sys.stderr)

    def _diverged(self, what: str) -> DivergedError:
        path = self.options.output / LAST
        return DivergedError(
            f"{what} at step {self.progress.step} (epoch {self.progress.epoch:.2f}, learning rate "
            f"{self._rate:.3g}): training stops here; a lower rate (--set "
            "schedule.learning_rate=...) or float32 may help. The last checkpoint is "
            f"{path if path.exists() else 'none'}",
            self.progress.epoch,
        )
