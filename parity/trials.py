"""Many climbs, over seeds and specs: what calibrations are drawn from, and held against."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from tinynet.spec import Spec

from parity.bench import Subject, subjects_of
from parity.calibration import Trial
from parity.ladder import climb

# The rungs whose bounds are multiples of rounding noise; `resume` has the bounds of `trajectory`.
CALIBRATED = (
    "layers-isolated", "layers-chained", "logits", "loss", "gradients-isolated",
    "gradients-chained", "statistics", "optimizer", "ema", "trajectory", "metrics", "onnx",
)  # fmt: skip


class Plan(NamedTuple):
    """Which climbs to make: specs, and for each the seeds."""

    spec: Spec
    seeds: range


def trials(
    plans: Sequence[Plan],
    subjects: Sequence[Subject],
    calibrations: Path | None,
    levels: Sequence[str] = CALIBRATED,
    jobs: int = 1,
) -> Iterator[Trial]:
    """Climbs for every spec and seed, and gives what was compared as it comes.

    Args:
        plans: specs and seeds.
        subjects: of one framework, device and precision.
        calibrations: where bounds are taken from, None for bounds that nobody calibrated.
        levels: the rungs.
        jobs: processes that climb side by side.

    Raises:
        ValueError: what :func:`parity.ladder.climb` raises.
    """
    tasks = [(plan.spec, seed) for plan in plans for seed in plan.seeds]
    # The frameworks' threads would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if jobs == 1:
        for spec, seed in tasks:
            yield _climb(spec, seed, tuple(subjects), calibrations, tuple(levels))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [
            pool.submit(_climb, spec, seed, tuple(subjects), calibrations, tuple(levels))
            for spec, seed in tasks
        ]
        for future in as_completed(futures):
            yield future.result()


def _climb(
    spec: Spec,
    seed: int,
    subjects: tuple[Subject, ...],
    calibrations: Path | None,
    levels: tuple[str, ...],
) -> Trial:
    first = subjects[0]
    # The device of a process is chosen in the process.
    subjects_of(first.framework, (first.mode,), first.device, first.precision)
    report = climb(spec, seed=seed, subjects=subjects, calibrations=calibrations, levels=levels)
    return Trial(spec, seed, tuple(item for rung in report.rungs for item in rung.evidence))
