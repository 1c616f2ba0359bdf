"""Many runs of the suite, over seeds and specs: calibrations are fitted to them and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tinynet.spec import Spec
from tinynet.utils.atomic_files import write_text_atomically
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

    Bounds are taken from the folder ``calibrations``; None for uncalibrated ones. So many ``jobs``
    run side by side. The folder ``keep`` gets a file for each run; what is there is not run again.

    Raises:
        ValueError: what :func:`parity.suite.run_checks` raises.
    """
    if not set(checks) <= set(CALIBRATED):
        known = ", ".join(CALIBRATED)
        raise ValueError(f"checks are {', '.join(checks)}, expected some of {known}")

    def path_of(spec: Spec, seed: int) -> Path | None:
        name = f"{candidate.setting}-{spec.name}-{spec.sha256[:8]}-{seed}.json"
        return keep and keep / name

    due: list[tuple[Spec, int]] = []
    for spec, seed in ((plan.spec, seed) for plan in plans for seed in plan.seeds):
        path = path_of(spec, seed)
        if path is not None and path.is_file():
            yield _load(path, spec, seed)
        else:
            due.append((spec, seed))
    with process_pool(processor_shares(jobs)) as pool:
        futures = [pool.submit(_run, *run, candidate, calibrations, checks) for run in due]
        for future in as_completed(futures):
            run = future.result()
            path = path_of(run.spec, run.seed)
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
        ran_as = BASELINE.framework, BASELINE.mode, ""
        comparisons = [c for c in comparisons if (c.framework, c.mode, c.moved_from) != ran_as]
    return SeededRun(spec, seed, tuple(comparisons))


def _save(path: Path, run: SeededRun) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dataclasses.astuple(item) for item in run.comparisons]
    write_text_atomically(path, json.dumps(rows))


def _load(path: Path, spec: Spec, seed: int) -> SeededRun:
    rows: list[list[Any]] = json.loads(path.read_text(encoding="utf-8"))
    return SeededRun(spec, seed, tuple(Comparison(*row) for row in rows))
