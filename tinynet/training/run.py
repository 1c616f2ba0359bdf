"""A training run as its user sees it: the folder, the log, the progress bar, stopping.

Everything about a run that is not the training itself, and so the same for both twins.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import signal
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from types import FrameType
from typing import Any

from tqdm import tqdm

from tinynet.backend.protocols import Report
from tinynet.checkpoints.training_state import Best, Progress, TrainingState, save_training_state
from tinynet.data.sampling import epoch_ends
from tinynet.net.manifest import StateError
from tinynet.training.checks import DivergedError
from tinynet.training.evaluation import MetricSums, NotFiniteError
from tinynet.training.options import Options, Outcome, Scores, last_step
from tinynet.training.run_log import RunLog
from tinynet.training.schedule import total_steps
from tinynet.utils.atomic_files import write_atomically

LAST, BEST = "last.safetensors", "best.safetensors"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The terminal sends Ctrl-C to every process, and a launcher sends it on: the same one once more.
_ECHO_SECONDS = 1.0


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
        self._log: RunLog | None = None
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
            # A reader of the net checks all of it; all but the numbers was right at the start.
            what = f"the net is not finite ({str(error).partition(';')[0]})"
            raise self._diverged(what) from None

    @property
    def asked_to_stop(self) -> bool:
        """Whether this process got a signal to."""
        return bool(self.signal)

    @property
    def evaluation_is_due(self) -> bool:
        """Whether the recipe or ``evaluate_every`` asks for one after the last step."""
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
            Whether any process was asked to stop.

        Raises:
            DivergedError: the loss is not finite.
        """
        self.settle()
        self.progress = progress
        self._pending = (progress, learning_rate, report, time.perf_counter())
        self.skipped += len(skipped)
        self._tell_skipped(skipped)
        # All processes stop after the same step: a single one need not ask the others.
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
        record = _metrics(scores.raw) | {"skipped": len(scores.skipped)}
        if scores.ema:
            record |= {f"ema_{name}": value for name, value in _metrics(scores.ema).items()}
        self._write("evaluation", images=scores.raw.images, **record)
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
        """Returns how it ended."""
        stopped_by = 0
        if self.progress.step < last_step(self.progress, self.options):
            # Without a signal of its own: another process got one.
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
        self._log = self._stack.enter_context(
            RunLog(options.output, progress, options.command, {"processes": self.ranks, **how})
        )
        batch, last = progress.recipe.batch_size, last_step(progress, options)
        bar: tqdm[Any] = tqdm(
            total=last * batch,
            initial=progress.step * batch,
            unit=" images",
            disable=None,  # in a file or a pipe
            smoothing=0.05,
            dynamic_ncols=True,
        )
        self._bar = self._stack.enter_context(bar)

    def _log_training(self, progress: Progress, now: float) -> None:
        since, step = self._since
        self._since = (now, progress.step)
        seen = (progress.step - step) * progress.recipe.batch_size
        self._write(
            "train",
            loss=sum(self._losses) / len(self._losses),
            learning_rate=self._rate,
            images_per_second=seen / (now - since),
            skipped=self.skipped,
        )
        self._losses.clear()

    def _write(self, kind: str, **record: float) -> None:
        if self._log is not None:
            at = {"kind": kind, "step": self.progress.step, "epoch": self.progress.epoch}
            self._log.write(at | record)

    def _tell_skipped(self, messages: tuple[str, ...]) -> None:
        # Each process of its own images, and once of each.
        for message in messages:
            if message not in self._told:
                self._told.add(message)
                self._tell(f"skipped: {message}", everyone=True)

    def _tell(self, message: str, everyone: bool = False) -> None:
        if self.writes or everyone:
            # A run continues when its messages are no longer read.
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


def _metrics(sums: MetricSums) -> dict[str, float]:
    return {"top1": sums.top1, "top5": sums.top5, "loss": sums.mean_loss}
