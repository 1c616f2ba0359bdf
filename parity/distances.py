"""Distances between arrays, each relative to a size that makes sense for the quantity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from parity.results import Comparison, Kind, Origin
from parity.tolerances.bounds import Bound

Array = NDArray[Any]


def norm(values: Array) -> float:
    """Returns the Euclidean norm in float64."""
    return float(np.linalg.norm(values.astype(np.float64).ravel()))


def relative_error(found: Array, truth: Array, scale: float | None = None) -> float:
    """Returns the norm of the difference over a scale, by default the norm of the truth.

    Infinite where the truth is zero and the difference is not, or where a value is not finite.
    """
    difference = norm(found.astype(np.float64) - truth)
    scale = norm(truth) if scale is None else scale
    if not math.isfinite(difference):
        return math.inf
    return difference / scale if scale > 0 else (math.inf if difference > 0 else 0.0)


def compare_values(
    candidate: str,
    where: str,
    found: Array | None,
    truth: Array,
    baselines: list[Array],
    bound: Bound,
    scale: float | None = None,
    **origin: Unpack[Origin],
) -> Comparison:
    """Compares an array with the reference's as :func:`compare_within` does, bounded by the noise:
    the largest error of some float32 results of the baseline.
    """
    measured = max(relative_error(baseline, truth, scale) for baseline in baselines)
    noise = bound.noise(measured, where)
    limit, quantity = bound.factor * noise, bound.quantity
    return compare_within(candidate, where, found, truth, noise, limit, quantity, scale, **origin)


def compare_within(
    candidate: str,
    where: str,
    found: Array | None,
    truth: Array,
    noise: float,
    limit: float,
    quantity: str,
    scale: float | None = None,
    **origin: Unpack[Origin],
) -> Comparison:
    """Compares an array with another one, within a known limit.

    Args:
        candidate: what ``found`` came from.
        where: the layer or key.
        found: the array under test, None where there is none.
        truth: what it should be.
        noise: what ``limit`` is a multiple of.
        limit: the largest error that passes.
        quantity: the row of :data:`parity.tolerances.bounds.BOUNDS` that the limit is from.
        scale: what errors are relative to; by default the norm of ``truth``.
        origin: the same as ``candidate``, for a tracer.
    """
    kind, note = _obstacle(found, truth)
    error = math.inf if found is None or note else relative_error(found, truth, scale)
    return Comparison(candidate, where, error, limit, noise, kind, note, quantity, **origin)


def compare_bits(
    candidate: str, where: str, found: Array | None, truth: Array, **origin: Unpack[Origin]
) -> Comparison:
    """Compares an array with another that must be identical, bit for bit.

    The error is the share of the numbers that differ.
    """
    kind, note = _obstacle(found, truth, "bits")
    error = math.inf
    if found is not None and not note and found.dtype != truth.dtype:
        note = f"{found.dtype}, expected {truth.dtype}"
    elif found is not None and not note:
        # As whole numbers, since NaN differs from itself and -0.0 equals 0.0.
        differs = _bits(found) != _bits(truth)
        error = float(differs.mean()) if differs.size else 0.0
    return Comparison(candidate, where, error, 0.0, kind=kind, note=note, **origin)


def first_lost(found: Mapping[str, Array], truths: Mapping[str, Array]) -> str | None:
    """Finds the first array that is not there, or not the same."""
    nothing = np.array(math.nan)
    lost = (k for k, truth in truths.items() if not np.array_equal(found.get(k, nothing), truth))
    return next(lost, None)


def _obstacle(found: Array | None, truth: Array, kind: Kind = "value") -> tuple[Kind, str]:
    # What stands in the way of comparing them so, and of which kind it is.
    if found is None:
        return "missing", "it is not there"
    if found.shape != truth.shape:
        return "shape", f"shape {found.shape}, expected {truth.shape}"
    if kind == "value" and not np.isfinite(found).all():
        return "not finite", "holds a NaN or an infinity"
    return kind, ""


def _bits(values: Array) -> NDArray[np.unsignedinteger[Any]]:
    return np.ascontiguousarray(values).reshape(-1).view(f"u{values.dtype.itemsize}")
