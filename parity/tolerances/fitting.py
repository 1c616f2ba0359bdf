"""Fits calibrations to runs: the usual noise of a baseline, the multiples of a setting."""

from __future__ import annotations

import dataclasses
import math
import platform
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

from tinynet.spec import Spec

from parity.results import Comparison
from parity.tolerances.bounds import ROUNDOFFS
from parity.tolerances.calibration import (
    Calibration,
    CalibrationError,
    Multiple,
    Noise,
    Places,
    Setting,
    factor,
)


class SeededRun(NamedTuple):
    """All that one run compared for a setting, with uncalibrated bounds."""

    spec: Spec
    seed: int
    comparisons: Sequence[Comparison]


def measure_noise(setting: Setting, runs: Sequence[SeededRun], command: str) -> Noise:
    """Fits the usual noise of a baseline to runs in float32, for each spec with several seeds.

    Raises:
        CalibrationError: nothing was compared, or a value is not finite.
    """
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for spec, _, item in _samples(runs):
        found[spec.sha256, item.quantity, item.where].append(item.noise)
    noise: Places = {}
    for (sha, quantity, where), values in found.items():
        places = noise.setdefault(sha, {}).setdefault(quantity, {})
        places[where] = float(f"{statistics.median(values):.3g}")
    return Noise(setting, *_origin(runs, command), noise)


def calibrate(
    setting: Setting, noise: Noise, runs: Sequence[SeededRun], command: str
) -> Calibration:
    """Fits the factors of a setting, multiples of a baseline's noise, to runs with several seeds.

    Raises:
        CalibrationError: nothing was compared, or a value is not finite.
    """
    samples: dict[str, list[_Sample]] = defaultdict(list)
    for sample in _samples(runs):
        samples[sample.item.quantity].append(sample)
    scale = ROUNDOFFS[setting.precision] / ROUNDOFFS["float32"]
    multiples = {q: _multiple(rows, noise.noise, scale) for q, rows in samples.items()}
    return Calibration(setting, *_origin(runs, command), noise.setting, multiples, noise)


def extend_noise(before: Noise, after: Noise) -> Noise:
    """Adds the nets, quantities and places of other runs that are new; what was known stays."""
    noise: Places = {}
    for sha in {**before.noise, **after.noise}:
        own, other = before.noise.get(sha, {}), after.noise.get(sha, {})
        quantities = {**own, **other}
        noise[sha] = {q: {**other.get(q, {}), **own.get(q, {})} for q in quantities}
    if noise == before.noise:
        return before
    return dataclasses.replace(after, noise=noise, **_of_both(before, after))


def extend_calibration(before: Calibration, after: Calibration) -> Calibration:
    """Returns the calibration on the runs of both: the larger multiple of each quantity counts.

    The median of the one with more comparisons stands for both, and ``after`` has the noise of
    both.
    """
    multiples = {**before.multiples, **after.multiples}
    for quantity in before.multiples.keys() & after.multiples.keys():
        pair = before.multiples[quantity], after.multiples[quantity]
        larger = max(pair, key=lambda multiple: multiple.largest)
        more = max(pair, key=lambda multiple: multiple.compared)
        compared = sum(multiple.compared for multiple in pair)
        multiples[quantity] = larger._replace(median=more.median, compared=compared)
    return dataclasses.replace(after, multiples=multiples, **_of_both(before, after))


def _of_both(before: Noise | Calibration, after: Noise | Calibration) -> dict[str, Any]:
    # A line of a shell that makes both again; a spec is run with the same seeds again.
    first, second = before.command, after.command
    seeds = {name: max(count, before.seeds.get(name, 0)) for name, count in after.seeds.items()}
    command = first if first.endswith(second) else f"{first} && {second}"
    return {"command": command, "seeds": before.seeds | seeds}


def compare_calibrations(before: Calibration, after: Calibration) -> list[str]:
    """Describes each change in the factors in one line."""
    lines: list[str] = []
    for quantity in {**before.multiples, **after.multiples}:
        pair = (found.multiples.get(quantity) for found in (before, after))
        old, new = (f"{m.largest:.3g} (factor {factor(m):g})" if m else "none" for m in pair)
        if old != new:
            lines.append(f"{quantity}: largest multiple {old} -> {new}")
    return lines


def compare_noise(before: Noise, after: Noise) -> list[str]:
    """Describes each change in the noise by more than a quarter in one line."""
    lines: list[str] = []
    for sha, by_quantity in after.noise.items():
        for quantity, places in by_quantity.items():
            known = before.noise.get(sha, {}).get(quantity, {})
            ratios = [value / known[where] for where, value in places.items() if known.get(where)]
            if ratios and not 0.8 < (middle := statistics.median(ratios)) < 1.25:
                lines.append(f"{quantity}: noise {middle:.2g} times as before, spec {sha[:8]}")
    return lines


def machine() -> str:
    """Returns the system and the processor's architecture."""
    return f"{platform.system()} {platform.machine()}"


class _Sample(NamedTuple):
    spec: Spec
    seed: int
    item: Comparison


def _samples(runs: Sequence[SeededRun]) -> Iterator[_Sample]:
    empty = True
    for spec, seed, comparison in runs:
        for item in comparison:
            if not item.quantity and item.kind != "error":
                continue
            empty = False
            if not math.isfinite(item.error) or not math.isfinite(item.noise):
                raise CalibrationError(
                    f"{spec.name}, seed {seed}: {item.where} ({item.candidate}) is {item.error} "
                    f"from the truth: {item.note or item.kind}; that is a fault, no rounding"
                )
            yield _Sample(spec, seed, item)
    if empty:
        raise CalibrationError("nothing was compared, so there is nothing to calibrate")


def _origin(runs: Sequence[SeededRun], command: str) -> tuple[str, str, str, dict[str, int]]:
    seeds = Counter(run.spec.name for run in runs)
    return machine(), command, date.today().isoformat(), dict(seeds)


def _multiple(rows: list[_Sample], noise: Places, scale: float) -> Multiple:
    multiples: list[tuple[float, _Sample]] = []
    for row in rows:
        places = noise.get(row.spec.sha256, {}).get(row.item.quantity, {})
        usual = places.get(row.item.where, 0.0) * scale
        multiples.append((row.item.error / max(row.item.noise, usual), row))
    largest, (spec, seed, item) = max(multiples, key=lambda pair: pair[0])
    middle = statistics.median(multiple for multiple, _ in multiples)
    return Multiple(
        float(f"{middle:.3g}"), float(f"{largest:.3g}"), len(rows), spec.name, seed, item.where
    )
