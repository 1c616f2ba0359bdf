"""Audits a twin: every operator on many shapes, a row for each thing that it computes."""

from __future__ import annotations

import platform
import statistics
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinynet.backend import load_backend
from tinynet.utils.environment import environment, version

from parity.audit.formulas import Pattern, find_pattern
from parity.audit.harness import Harness, Operator, OperatorComparison
from parity.audit.layers import LAYERS
from parity.audit.results import Audit, Row
from parity.audit.updates import UPDATES
from parity.tolerances.bounds import ROUNDOFF

# Vectors of 2, 4, 8 and 16 numbers come whole and with every tail.
SIZES = tuple(range(1, 34))
OPERATORS: dict[str, Operator] = {**LAYERS, **UPDATES}

_SEED = 0


class AuditError(ValueError):
    """An audit that cannot be made. The message is one line."""


def audit(
    framework: str,
    device: str = "cpu",
    sizes: Sequence[int] = SIZES,
    operators: Iterable[str] = tuple(OPERATORS),
    command: str = "",
    progress: Callable[[str], object] = lambda operator: None,
) -> Audit:
    """Audits a twin on a device, which is named as its framework does.

    ``sizes`` are numbers of images, channels, pixels, rows and parameters to try. Each operator has
    random numbers of its own. ``command`` is what makes the audit again; ``progress`` is told each
    operator before it runs.

    Raises:
        AuditError: an unknown operator, or a size below 1.
        BackendError: no such twin, or its framework is not installed.
        ValueError: no such device here.
    """
    operators = list(operators)
    unknown = ", ".join(name for name in operators if name not in OPERATORS)
    if unknown:
        raise AuditError(f"operators are {unknown}, expected some of {', '.join(OPERATORS)}")
    if not sizes or min(sizes) < 1:
        raise AuditError(f"sizes are {', '.join(map(str, sizes))}, expected some from 1")
    twin = load_backend(framework, tune=True)
    twin.predict.set_device(device)
    rows: list[Row] = []
    patterns: dict[str, Pattern] = {}
    for name in operators:
        progress(name)
        generator = np.random.default_rng([_SEED, zlib.crc32(name.encode())])
        comparisons = list(OPERATORS[name](Harness(twin, device, sizes, generator)))
        rows += [
            _row(name, quantity, [c for c in comparisons if c.quantity == quantity])
            for quantity in dict.fromkeys(c.quantity for c in comparisons)
        ]
        formulas = [c.formulas for c in comparisons if c.formulas]
        if formulas:
            patterns[name] = find_pattern(formulas)
    machine = f"{platform.system()} {platform.machine()}, {environment()['processor']}"
    whose = framework, version(framework).partition("+")[0], device, machine, command
    return Audit(*whose, date.today().isoformat(), tuple(sizes), tuple(rows), patterns)


def _row(operator: str, quantity: str, comparisons: Sequence[OperatorComparison]) -> Row:
    errors = [_errors(comparison) for comparison in comparisons]
    largest = [float(array.max()) for array in errors]
    worst = int(np.argmax(largest))
    element = np.unravel_index(errors[worst].argmax(), errors[worst].shape)
    where = f"{comparisons[worst].where}, element {tuple(map(int, element))}"
    sizes = [float(f"{size:.3g}") for size in (largest[worst], statistics.median(largest))]
    return Row(operator, quantity, sizes[0], where, sizes[1], len(comparisons))


def _errors(comparison: OperatorComparison) -> NDArray[np.float64]:
    if comparison.found.shape != comparison.truth.shape:
        return np.full(comparison.truth.shape, np.inf)
    # Where all terms are 0, as if they were the smallest number that has all digits.
    sizes = np.maximum(comparison.terms, float(np.finfo(np.float32).tiny))
    found: NDArray[np.float64] = comparison.found.astype(np.float64)
    errors: NDArray[Any] = np.abs(found - comparison.truth) / (ROUNDOFF * sizes)
    return np.where(np.isfinite(found), errors, np.inf)
