"""Calibration: how large rounding noise is, and how many times it a framework's errors are.

What is measured once, over many seeds and specs, is kept in a file for each way to compute: a
framework's version, a device, a precision and a mode. The ladder takes its factors from there.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tinynet.documents import check_document, parse_document, read_text, write_atomically
from tinynet.spec import Spec

from parity.evidence import Evidence
from parity.tolerance import BOUNDS, ROUNDOFFS, Bound

# Where the calibrations that are shipped lie.
DIRECTORY = Path(__file__).with_name("calibrations")
# A factor is so many times the largest multiple that was ever seen: fresh seeds, other nets and
# other processors go beyond what a finite number of trials saw.
MARGIN = 2.0
# And at least this: two results that each are within the noise of the truth.
LEAST_FACTOR = 2.0

_VERSION = 1


class CalibrationError(ValueError):
    """A calibration that cannot be used. The message is one line."""


class Setting(NamedTuple):
    """A way to compute, all of which decides how large its errors are."""

    framework: str
    version: str
    device: str
    precision: str
    mode: str

    @property
    def file_name(self) -> str:
        """The name of its calibration's file."""
        return f"{'-'.join(self)}.json"


class Multiple(NamedTuple):
    """Errors as multiples of the noise: how they are distributed, and where the largest was."""

    median: float
    largest: float
    compared: int
    spec: str
    seed: int
    where: str


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured of a setting.

    Attributes:
        setting: whose.
        reference: the setting whose float32 noise the multiples are of, as text.
        machine: the system and processor.
        command: what measures it again.
        measured_on: the day, in ISO's form.
        seeds: how many for each spec.
        multiples: quantity -> multiples of the noise, where its usual size is known and counts.
        multiples_alone: the same for a net nobody has calibrated: of the noise measured in the
            same run only.
        noise: spec's SHA-256 -> quantity -> place -> the reference's median noise.
    """

    setting: Setting
    reference: str
    machine: str
    command: str
    measured_on: str
    seeds: dict[str, int]
    multiples: dict[str, Multiple]
    multiples_alone: dict[str, Multiple]
    noise: dict[str, dict[str, dict[str, float]]]

    def bound(self, quantity: str, spec: Spec) -> Bound:
        """The bound of a quantity: the calibrated factor, and the usual noise where it is known."""
        row = scaled(quantity, self.setting.precision)
        typical = self.noise.get(spec.sha256, {}).get(quantity, {})
        multiple = (self.multiples if typical else self.multiples_alone).get(quantity)
        if multiple is None:
            return row
        return dataclasses.replace(row, factor=factor(multiple), typical=typical)


def factor(multiple: Multiple) -> float:
    """The factor of a bound: the largest multiple that was seen, with a margin, in two digits."""
    wanted = max(MARGIN * multiple.largest, LEAST_FACTOR)
    digits = 1 - math.floor(math.log10(wanted))
    return math.ceil(wanted * 10**digits) / 10**digits


def scaled(quantity: str, precision: str) -> Bound:
    """The row of the table for a precision."""
    row = BOUNDS[quantity]
    return dataclasses.replace(row, scale=ROUNDOFFS[precision] / ROUNDOFFS["float32"])


@cache
def load_calibration(path: Path) -> Calibration:
    """Reads a calibration.

    Raises:
        DocumentError: the file is missing or not a calibration.
        CalibrationError: a factor beyond its limit.
    """
    document = parse_document(read_text(path), str(path))
    check_document(document, _SCHEMA, str(path))
    fields = {key: value for key, value in document.items() if key != "calibration_version"}
    fields["setting"] = Setting(**fields["setting"])
    for name in ("multiples", "multiples_alone"):
        fields[name] = {q: Multiple(**numbers) for q, numbers in fields[name].items()}
    found = Calibration(**fields)
    _check_factors(found, str(path))
    return found


def find_calibration(setting: Setting, folder: Path = DIRECTORY) -> Calibration | None:
    """The calibration of a setting, None where nobody has made one."""
    path = folder / setting.file_name
    return load_calibration(path) if path.is_file() else None


def save_calibration(calibration: Calibration, folder: Path) -> Path:
    """Writes a calibration under its setting's name, and says where.

    Raises:
        CalibrationError: a factor beyond its limit: what was measured is no rounding.
        DocumentError: the file cannot be placed there.
    """
    _check_factors(calibration, calibration.setting.file_name)
    document: dict[str, Any] = {"calibration_version": _VERSION}
    document |= dataclasses.asdict(calibration)
    document["setting"] = calibration.setting._asdict()
    for name in ("multiples", "multiples_alone"):
        document[name] = {q: m._asdict() for q, m in getattr(calibration, name).items()}
    rows: list[str] = []
    for key, value in document.items():
        if key in ("multiples", "multiples_alone"):
            # A row a quantity, for those who read what changed.
            inner = ",\n".join(f"    {json.dumps(q)}: {json.dumps(m)}" for q, m in value.items())
            rows.append(f"  {json.dumps(key)}: {{\n{inner}\n  }}")
        elif key == "noise":
            nets = [
                f"    {json.dumps(sha)}: {{\n"
                + ",\n".join(f"      {json.dumps(q)}: {json.dumps(v)}" for q, v in by.items())
                + "\n    }"
                for sha, by in value.items()
            ]
            rows.append(f"  {json.dumps(key)}: {{\n" + ",\n".join(nets) + "\n  }")
        else:
            rows.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    text = "{\n" + ",\n".join(rows) + "\n}\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / calibration.setting.file_name
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    load_calibration.cache_clear()
    return path


def stored_noise(spec: Spec, quantity: str, where: str, folder: Path = DIRECTORY) -> float | None:
    """The reference's usual noise at a place, from any calibration that has it.

    Args:
        spec: the net.
        quantity: a row of :data:`parity.tolerance.BOUNDS`.
        where: the place.
        folder: of the calibrations.
    """
    for path in sorted(folder.glob("*.json")):
        by_quantity = load_calibration(path).noise.get(spec.sha256, {})
        if where in by_quantity.get(quantity, {}):
            return by_quantity[quantity][where]
    return None


class Trial(NamedTuple):
    """All that one climb compared for a setting."""

    spec: Spec
    seed: int
    evidence: Sequence[Evidence]


def calibrate(
    setting: Setting, reference: str, trials: Iterable[Trial], command: str
) -> Calibration:
    """Draws a calibration from climbs whose bounds were not calibrated.

    Args:
        setting: whose errors they are.
        reference: the setting whose noise they are held against, as text.
        trials: one for each spec and seed.
        command: what measures it again.

    Raises:
        CalibrationError: there is nothing to draw one from, or a value that no number can say.
    """
    seeds: dict[str, int] = defaultdict(int)
    samples: dict[str, list[_Sample]] = defaultdict(list)
    for spec, seed, evidence in trials:
        seeds[spec.name] += 1
        for item in evidence:
            if item.quantity and item.noise > 0:
                if not math.isfinite(item.error) or not math.isfinite(item.noise):
                    raise CalibrationError(
                        f"{spec.name}, seed {seed}: {item.where} ({item.subject}) is {item.error} "
                        f"from the truth: {item.note or item.kind}; that is a fault, no rounding"
                    )
                samples[item.quantity].append(_Sample(spec, seed, item))
    if not samples:
        raise CalibrationError("nothing was compared, so there is nothing to calibrate")
    scale = ROUNDOFFS[setting.precision] / ROUNDOFFS["float32"]
    noise = _typical(samples, scale)
    return Calibration(
        setting, reference, machine(), command, date.today().isoformat(), dict(seeds),
        {q: _multiple(rows, noise, scale) for q, rows in samples.items()},
        {q: _multiple(rows, {}, scale) for q, rows in samples.items()},
        noise,
    )  # fmt: skip


def compare_calibrations(before: Calibration, after: Calibration) -> list[str]:
    """What changed, a line each: factors, and the noise itself. Empty if nothing did."""
    lines: list[str] = []
    for quantity in {**before.multiples, **after.multiples}:
        old, new = before.multiples.get(quantity), after.multiples.get(quantity)
        texts = [f"{m.largest:.3g} (factor {factor(m):g})" if m else "none" for m in (old, new)]
        if texts[0] != texts[1]:
            lines.append(f"{quantity}: largest multiple {texts[0]} -> {texts[1]}")
    for sha, by_quantity in after.noise.items():
        for quantity, places in by_quantity.items():
            known = before.noise.get(sha, {}).get(quantity, {})
            ratios = [value / known[where] for where, value in places.items() if known.get(where)]
            if ratios and not 0.8 < (middle := statistics.median(ratios)) < 1.25:
                lines.append(f"{quantity}: noise {middle:.2g} times as before, spec {sha[:8]}")
    return lines


def machine() -> str:
    """The system and the processor's architecture."""
    return f"{platform.system()} {platform.machine()}"


class _Sample(NamedTuple):
    spec: Spec
    seed: int
    item: Evidence


def _typical(
    samples: Mapping[str, list[_Sample]], scale: float
) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for quantity, rows in samples.items():
        for spec, _, item in rows:
            places = found.setdefault(spec.sha256, {}).setdefault(quantity, {})
            places.setdefault(item.where, []).append(item.noise / scale)
    return {
        sha: {
            quantity: {
                where: float(f"{statistics.median(values):.3g}") for where, values in places.items()
            }
            for quantity, places in by_quantity.items()
        }
        for sha, by_quantity in found.items()
    }


def _multiple(
    rows: list[_Sample], noise: Mapping[str, Mapping[str, Mapping[str, float]]], scale: float
) -> Multiple:
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


def _check_factors(calibration: Calibration, source: str) -> None:
    for name in ("multiples", "multiples_alone"):
        for quantity, multiple in getattr(calibration, name).items():
            if quantity not in BOUNDS:
                known = ", ".join(BOUNDS)
                raise CalibrationError(f"{source}: no quantity {quantity}, expected one of {known}")
            limit = BOUNDS[quantity].factor
            if factor(multiple) > limit:
                raise CalibrationError(
                    f"{source}: {quantity} needs a factor of {factor(multiple):g} at "
                    f"{multiple.where} ({multiple.spec}, seed {multiple.seed}), the limit is "
                    f"{limit:g}: look for a fault before widening it"
                )


_NUMBERS: dict[str, Any] = {
    "type": "object",
    "description": "median, largest, compared, spec, seed and where",
    "properties": {
        "median": {"type": "number", "minimum": 0, "description": "a number from 0"},
        "largest": {"type": "number", "minimum": 0, "description": "a number from 0"},
        "compared": {"type": "integer", "minimum": 1, "description": "a whole number from 1"},
        "spec": {"type": "string", "description": "a name"},
        "seed": {"type": "integer", "description": "a whole number"},
        "where": {"type": "string", "description": "a place"},
    },
    "required": list(Multiple._fields),
    "additionalProperties": False,
}
_MULTIPLES: dict[str, Any] = {
    "type": "object",
    "description": "quantity -> multiples",
    "additionalProperties": _NUMBERS,
}
_TEXT: dict[str, Any] = {"type": "string", "description": "a text"}
_PROPERTIES: dict[str, Any] = {
    "calibration_version": {"const": _VERSION, "description": f"{_VERSION}, the only one there is"},
    "setting": {
        "type": "object",
        "description": "framework, version, device, precision and mode",
        "properties": {
            **dict.fromkeys(Setting._fields, _TEXT),
            "precision": {"enum": list(ROUNDOFFS), "description": f"one of {', '.join(ROUNDOFFS)}"},
        },
        "required": list(Setting._fields),
        "additionalProperties": False,
    },
    **dict.fromkeys(("reference", "machine", "command", "measured_on"), _TEXT),
    "seeds": {
        "type": "object",
        "description": "spec -> number of seeds",
        "additionalProperties": {"type": "integer", "minimum": 1, "description": "a number from 1"},
    },
    "multiples": _MULTIPLES,
    "multiples_alone": _MULTIPLES,
    "noise": {
        "type": "object",
        "description": "an object",
        "additionalProperties": {
            "type": "object",
            "description": "an object",
            "additionalProperties": {
                "type": "object",
                "description": "an object",
                "additionalProperties": {
                    "type": "number", "exclusiveMinimum": 0, "description": "a number above 0",
                },
            },
        },
    },
}  # fmt: skip
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "a JSON object",
    "properties": _PROPERTIES,
    "required": list(_PROPERTIES),
    "additionalProperties": False,
}
