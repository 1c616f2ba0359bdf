"""Many runs of the suite, over seeds and specs: calibrations are fitted to them and checked."""

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

from parity.candidates import BASELINE, Candidate, candidates_of
from parity.checks import CALIBRATED
from parity.results import Comparison
from parity.suite import run_checks
from parity.tolerances.fitting import SeededRun


class Plan(NamedTuple):
    """A spec, and the seeds to run it with."""

    spec: Spec
    seeds: range


def run_seeds(
    plans: Sequence[Plan],
    candidate: Candidate,
    calibrations: Path | None,
    checks: Sequence[str] = tuple(CALIBRATED),
    jobs: int = 1,
    keep: Path | None = None,
) -> Iterator[SeededRun]:
    """Runs the suite for every spec and seed, and yields what was compared as it comes.

    Args:
        plans: specs and seeds.
        candidate: what is compared with the reference.
        calibrations: where bounds are taken from, None for uncalibrated bounds.
        checks: checks, of :data:`parity.checks.CALIBRATED`.
        jobs: processes that run side by side.
        keep: a folder with a file for each run; what is there already is not run again.

    Raises:
        ValueError: what :func:`parity.suite.run_checks` raises.
    """
    if not set(checks) <= set(CALIBRATED):
        known = ", ".join(CALIBRATED)
        raise ValueError(f"checks are {', '.join(checks)}, expected some of {known}")
    due: list[tuple[Spec, int]] = []
    for plan in plans:
        for seed in plan.seeds:
            path = _path(keep, candidate, plan.spec, seed)
            if path is not None and path.is_file():
                yield _load(path, plan.spec, seed)
            else:
                due.append((plan.spec, seed))
    with process_pool(processor_shares(jobs)) as pool:
        futures = [
            pool.submit(_run, spec, seed, candidate, calibrations, checks) for spec, seed in due
        ]
        for future in as_completed(futures):
            run = future.result()
            path = _path(keep, candidate, run.spec, run.seed)
            if path is not None:
                _save(path, run)
            yield run


def _run(
    spec: Spec, seed: int, candidate: Candidate, calibrations: Path | None, checks: Sequence[str]
) -> SeededRun:
    # A process chooses its own device.
    candidates = candidates_of(
        candidate.framework, (candidate.mode,), candidate.device, candidate.precision
    )
    report = run_checks(
        spec, seed=seed, candidates=candidates, calibrations=calibrations, checks=checks
    )
    comparisons = [item for check in report.checks for item in check.comparisons]
    if candidate.framework != BASELINE.framework:
        # The baseline runs in some checks too, with bounds of its own.
        comparisons = [item for item in comparisons if not _is_baseline(item)]
    return SeededRun(spec, seed, tuple(comparisons))


def _is_baseline(item: Comparison) -> bool:
    ran_as = item.framework, item.mode, item.moved_from
    return ran_as == (BASELINE.framework, BASELINE.mode, "")


def _path(keep: Path | None, candidate: Candidate, spec: Spec, seed: int) -> Path | None:
    return keep and keep / f"{candidate.setting}-{spec.name}-{spec.sha256[:8]}-{seed}.json"


def _save(path: Path, run: SeededRun) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([dataclasses.astuple(item) for item in run.comparisons])
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _load(path: Path, spec: Spec, seed: int) -> SeededRun:
    rows: list[list[Any]] = json.loads(path.read_text(encoding="utf-8"))
    return SeededRun(spec, seed, tuple(Comparison(*row) for row in rows))
