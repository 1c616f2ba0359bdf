"""Many climbs, over seeds and specs: what calibrations are drawn from, and held against."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tinynet.spec import Spec
from tinynet.utils.atomic_files import write_atomically
from tinynet.utils.process_pool import process_pool, processor_shares

from parity.context import REFERENCE, Subject, subjects_of
from parity.results import Evidence
from parity.suite import climb
from parity.tolerances.fitting import Trial

# The rungs whose bounds are multiples of rounding noise.
CALIBRATED = (
    "layers-isolated", "layers-chained", "logits", "loss", "gradients-isolated",
    "gradients-chained", "statistics", "optimizer", "ema", "trajectory", "metrics", "onnx",
    "resume",
)  # fmt: skip


class Plan(NamedTuple):
    """Which climbs to make: a spec, and for it the seeds."""

    spec: Spec
    seeds: range


def trials(
    plans: Sequence[Plan],
    subject: Subject,
    calibrations: Path | None,
    levels: Sequence[str] = CALIBRATED,
    jobs: int = 1,
    keep: Path | None = None,
) -> Iterator[Trial]:
    """Climbs for every spec and seed, and gives what was compared as it comes.

    Args:
        plans: specs and seeds.
        subject: what is held against the judge.
        calibrations: where bounds are taken from, None for bounds that nobody calibrated.
        levels: rungs, of :data:`CALIBRATED`.
        jobs: processes that climb side by side.
        keep: a folder for a file a climb; what lies there already is not climbed again.

    Raises:
        ValueError: what :func:`parity.suite.climb` raises.
    """
    if not set(levels) <= set(CALIBRATED):
        known = ", ".join(CALIBRATED)
        raise ValueError(f"levels are {', '.join(levels)}, expected some of {known}")
    due: list[tuple[Spec, int]] = []
    for plan in plans:
        for seed in plan.seeds:
            path = _path(keep, subject, plan.spec, seed)
            if path is not None and path.is_file():
                yield _load(path, plan.spec, seed)
            else:
                due.append((plan.spec, seed))
    with process_pool(processor_shares(jobs)) as pool:
        futures = [
            pool.submit(_climb, spec, seed, subject, calibrations, levels) for spec, seed in due
        ]
        for future in as_completed(futures):
            trial = future.result()
            path = _path(keep, subject, trial.spec, trial.seed)
            if path is not None:
                _save(path, trial)
            yield trial


def _climb(
    spec: Spec, seed: int, subject: Subject, calibrations: Path | None, levels: Sequence[str]
) -> Trial:
    # The device of a process is chosen in the process.
    subjects = subjects_of(subject.framework, (subject.mode,), subject.device, subject.precision)
    report = climb(
        spec, seed=seed, subjects=subjects, calibrations=calibrations, levels=levels
    )  # fmt: skip
    evidence = [item for rung in report.rungs for item in rung.evidence]
    if subject.framework != REFERENCE.framework:
        # The reference runs in some rungs too, with bounds of its own.
        own = (str(REFERENCE), f"{REFERENCE}, its loop")
        evidence = [item for item in evidence if item.subject not in own]
    return Trial(spec, seed, tuple(evidence))


def _path(keep: Path | None, subject: Subject, spec: Spec, seed: int) -> Path | None:
    return keep and keep / f"{subject.setting}-{spec.name}-{spec.sha256[:8]}-{seed}.json"


def _save(path: Path, trial: Trial) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([dataclasses.astuple(item) for item in trial.evidence])
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _load(path: Path, spec: Spec, seed: int) -> Trial:
    rows: list[list[Any]] = json.loads(path.read_text(encoding="utf-8"))
    return Trial(spec, seed, tuple(Evidence(*row) for row in rows))
