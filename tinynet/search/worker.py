"""What a process of a search does: it takes and trains nets until all trainings are done."""

from __future__ import annotations

import dataclasses
import io
import shutil
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, cast

from tinynet.backend import Backend, load_backend
from tinynet.checkpoints.training_state import (
    Best,
    Progress,
    TrainingState,
    initial_training_state,
    load_training_state,
)
from tinynet.data.open_data import Data
from tinynet.net.complexity import count
from tinynet.search.leases import kept, take
from tinynet.search.plan import Plan
from tinynet.search.results import Result, result_path, save_result
from tinynet.search.sampling import Training
from tinynet.training import loop
from tinynet.training.checks import DivergedError
from tinynet.training.options import Options, last_step
from tinynet.training.run import LAST

POLL_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What all processes of a search share.

    Attributes:
        folder: of the search.
        plan: the search.
        trainings: all of them.
        data: what to train on, with the plan's base.
        how: options of each run, but for its output.
    """

    folder: Path
    plan: Plan
    trainings: Sequence[Training]
    data: Data
    how: Options


def work(job: Work) -> int:
    """Trains what no other process trains, until everything is done.

    It waits for what others are training, since they may be killed and their leases go stale. A
    training that diverges is done: its divergence is its result.

    Returns:
        0, or the signal that ended it.

    Raises:
        ValueError: an impossible device, precision or batch, or an unreadable image.
    """
    twin = load_backend(job.plan.framework, tune=True)
    while True:
        left = [t for t in job.trainings if not _is_done(job.folder, t)]
        if not left:
            return 0
        found = False
        for training in left:
            run = _run_folder(job.folder, training)
            held = None if _is_done(job.folder, training) else take(run)
            if held is None:
                continue
            found = True
            with kept(held):
                stopped_by = _train(twin, job, training, run)
            if stopped_by:
                return stopped_by
        if not found:
            time.sleep(POLL_SECONDS)


def _train(twin: Backend, job: Work, training: Training, run: Path) -> int:
    began = time.monotonic()
    spec, plan = training.solution.spec, job.plan
    # Another process may have finished it before this one took the lease.
    if not result_path(job.folder, training).exists():
        options = dataclasses.replace(job.how, output=run)
        if (run / LAST).exists():
            state = load_training_state(run / LAST)
        else:
            images, seed = (plan.images, plan.data_sha256), training.seed
            state = initial_training_state(spec, plan.recipe, seed, *images, None)
        try:
            progress, stopped_by = _go_on(twin, state, job.data._replace(spec=spec), options)
            if stopped_by:
                return stopped_by
            # The only evaluation follows the last step, and the checkpoint follows that.
            epochs, accuracy = progress.epoch, cast(Best, progress.best).value
        except DivergedError as error:
            epochs, accuracy = error.epoch, None
        result = Result(
            index=training.index,
            seed=training.seed,
            name=spec.name,
            spec_sha256=spec.sha256,
            twist=training.solution.twist,
            cost=training.cost,
            **dataclasses.asdict(count(spec)),
            framework=plan.framework,
            recipe=plan.recipe.name,
            epochs=epochs,
            accuracy=accuracy,
            seconds=round(time.monotonic() - began, 1),
        )
        save_result(job.folder, result, training)
    shutil.rmtree(run, ignore_errors=True)  # another process may be looking into it
    return 0


def _go_on(twin: Any, state: TrainingState, data: Data, options: Options) -> tuple[Progress, int]:
    """Trains what is left; returns how far it came, and the signal that ended it, or 0."""
    if state.progress.step == last_step(state.progress, options):
        return state.progress, 0
    # Several processes would write their lines into each other's.
    with redirect_stderr(io.StringIO()):
        outcome = loop.train(twin, state, data, options)
    return outcome.progress, outcome.stopped_by


def _is_done(folder: Path, training: Training) -> bool:
    # A run that still exists beside its result was killed before it was removed.
    is_there = result_path(folder, training).exists()
    return is_there and not _run_folder(folder, training).exists()


def _run_folder(folder: Path, training: Training) -> Path:
    return folder / "runs" / training.name
