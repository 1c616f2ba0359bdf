"""The parity suite: runs checks, and traces the first that fails.

The reference is the PyTorch twin in float64, the noise that of the PyTorch twin in float32; the
candidates are every other way to run the same net.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tinynet.net.manifest import State
from tinynet.spec import Spec
from tinynet.utils.environment import environment

from parity.candidates import Candidate, candidates_of
from parity.checks import CHECKS, Check, refuse_unknown
from parity.checks.non_smooth import over_batches
from parity.context import Context
from parity.results import CheckResult, Comparison, Report, Series
from parity.tolerances.calibration import DIRECTORY
from parity.tracing.divergence import Locate, trace
from parity.tracing.sources import named_key


def run_checks(
    spec: Spec,
    state: State | None = None,
    weights: str = "",
    command: str = "",
    checks: Sequence[str] = tuple(CHECKS),
    seed: int = 0,
    candidates: Sequence[Candidate] = (),
    calibrations: Path | None = DIRECTORY,
    fail_fast: bool = False,
    progress: Callable[[CheckResult], None] = lambda check: None,
) -> Report:
    """Runs checks, and traces the first that fails.

    Args:
        spec: the net.
        state: canonical state, by default one made from ``seed``.
        weights: what to call the state in the report.
        command: the command line that runs again, for the report.
        checks: some of :data:`parity.checks.CHECKS`; they are run in that order.
        seed: of pixels, labels and state.
        candidates: from :func:`parity.candidates.candidates_of`; by default MindSpore on the CPU in
            both modes.
        calibrations: the folder of calibrations, None for bounds that are not calibrated.
        fail_fast: stop after the first check that fails.
        progress: is given each check when it is done.

    Raises:
        BackendError: a framework is not installed.
        ValueError: no such check, or no check at all.
    """
    refuse_unknown(checks, CHECKS)
    start = time.perf_counter()
    results: list[CheckResult] = []
    failure: tuple[Locate, CheckResult, Exception | None] | None = None
    candidates = candidates or candidates_of()
    with tempfile.TemporaryDirectory() as folder:
        context = Context(spec, state, seed, candidates, Path(folder), calibrations)
        for check in (check for name, check in CHECKS.items() if name in checks):
            result, error = _run_check(check, context)
            results.append(result)
            progress(result)
            if result.failures and failure is None:
                failure = check.locate, result, error
            if fail_fast and not result.passed:
                break
        divergence = trace(context, *failure) if failure else None
        surroundings = environment() | context.origin_of_bounds()
    weights = weights or f"made from seed {seed}"
    seconds = time.perf_counter() - start
    return Report(spec.name, weights, command, tuple(results), surroundings, seconds, divergence)


def _run_check(check: Check, context: Context) -> tuple[CheckResult, Exception | None]:
    # The result, and the exception that ended the check.
    start = time.perf_counter()
    skipped = check.obstacle(context)
    items: list[Comparison | Series] = []
    raised: Exception | None = None
    compare = over_batches(check.compare) if check.by_chance else check.compare
    try:
        items.extend(() if skipped else compare(context))
    except Exception as error:  # a broken twin can raise anything, and the report must say so
        raised = error
        message = " ".join(str(error).split()) or type(error).__name__
        where, note = named_key(error, context.spec) or "?", f"{type(error).__name__}: {message}"
        items.append(Comparison("", where, math.inf, 0.0, kind="error", note=note[:500]))
    context.release(*check.releases)
    comparisons = [item for item in items if isinstance(item, Comparison)]
    series = [item for item in items if isinstance(item, Series)]
    seconds = time.perf_counter() - start
    return check.result(comparisons, seconds, series, skipped), raised
