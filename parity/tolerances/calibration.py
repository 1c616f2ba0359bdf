"""Calibrations of bounds: how large rounding noise is, and which multiple of it errors are.

They are measured once, over many seeds and specs, and kept in files. One file has the noise itself,
place by place: that of the baseline, PyTorch in float32. The others have factors, one file for each
setting: a framework's version, a device, a precision and a mode. The suite takes its bounds from
them. (The calibration of an INT8 net is in :mod:`tinynet.deploy`.)
"""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from tinynet.spec import Spec
from tinynet.utils.atomic_files import write_text_atomically
from tinynet.utils.strict_json import object_schema, read_checked, value_schema

from parity.tolerances.bounds import BOUNDS, ROUNDOFFS, Bound

# The folder of the shipped calibrations.
DIRECTORY = Path(__file__).with_name("calibrations")
# A factor is this many times the largest multiple that was seen: fresh seeds, other nets and other
# processors go beyond what a finite number of runs showed.
MARGIN = 2.0
# And at least this: two results that each are within the noise of the truth.
LEAST_FACTOR = 2.0

_VERSION = 1


class CalibrationError(ValueError):
    """A calibration that cannot be used. The message is one line."""


class Setting(NamedTuple):
    """Everything that decides how large the errors of a computation are."""

    framework: str
    version: str
    device: str
    precision: str
    mode: str

    @property
    def file_name(self) -> str:
        """The name of its calibration's file."""
        return f"{self}.json"

    @property
    def noise_name(self) -> str:
        """The name of the file with its noise, if it is a baseline."""
        return f"noise-{self}.json"

    def __str__(self) -> str:
        return "-".join(self)


# spec's SHA-256 -> quantity -> place -> median noise.
Places = dict[str, dict[str, dict[str, float]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What was measured over many runs, and how.

    Attributes:
        setting: whose errors they are.
        machine: the system and processor.
        command: what measures it again.
        measured_on: the day, in ISO's form.
        seeds: how many for each spec.
    """

    setting: Setting
    machine: str
    command: str
    measured_on: str
    seeds: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Noise(Measured):
    """How large the float32 rounding noise of a baseline usually is: medians over the seeds."""

    noise: Places


class Multiple(NamedTuple):
    """How errors, as multiples of the noise, are distributed, and where the largest was."""

    median: float
    largest: float
    compared: int
    spec: str
    seed: int
    where: str


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration(Measured):
    """A setting's errors as multiples of the baseline's noise.

    Attributes:
        baseline: whose noise the multiples are of.
        multiples: quantity -> multiples of the noise.
        noise: the baseline's, from its own file.
    """

    baseline: Setting
    multiples: dict[str, Multiple]
    noise: Noise

    def bound(self, quantity: str, spec: Spec) -> Bound:
        """Returns the bound of a quantity: the calibrated factor, on the usual noise.

        A net whose noise was not measured, or a quantity that did not occur, is held to the limit.
        """
        row = scaled(quantity, self.setting.precision)
        typical = self.noise.noise.get(spec.sha256, {}).get(quantity)
        multiple = self.multiples.get(quantity)
        if typical is None or multiple is None:
            return row
        return dataclasses.replace(row, factor=factor(multiple), typical=typical)


def factor(multiple: Multiple) -> float:
    """Returns the factor of a bound: the largest multiple with a margin, in two digits."""
    wanted = max(MARGIN * multiple.largest, LEAST_FACTOR)
    digits = 1 - math.floor(math.log10(wanted))
    return math.ceil(wanted * 10**digits) / 10**digits


def scaled(quantity: str, precision: str) -> Bound:
    """Returns the row of the table for a precision."""
    row = BOUNDS[quantity]
    return dataclasses.replace(row, scale=ROUNDOFFS[precision] / ROUNDOFFS["float32"])


@cache
def load_noise(path: Path) -> Noise:
    """Reads the noise of a baseline.

    Raises:
        DocumentError: the file is missing or not of that kind.
    """
    return Noise(**_read(path, _NOISE_SCHEMA))


@cache
def load_calibration(path: Path) -> Calibration:
    """Reads a calibration, and the noise beside it that it is about.

    Raises:
        DocumentError: a file is missing or not of that kind.
        CalibrationError: a factor beyond its limit.
    """
    fields = _read(path, _SCHEMA)
    fields["baseline"] = Setting(**fields.pop("reference"))
    fields["multiples"] = {q: Multiple(**numbers) for q, numbers in fields["multiples"].items()}
    noise = load_noise(path.parent / fields["baseline"].noise_name)
    found = Calibration(**fields, noise=noise)
    _check_factors(found, str(path))
    return found


def find_calibration(setting: Setting, folder: Path = DIRECTORY) -> Calibration | None:
    """Returns the calibration of a setting, None where there is none."""
    path = folder / setting.file_name
    return load_calibration(path) if path.is_file() else None


def calibrated_bound(quantity: str, setting: Setting, spec: Spec, folder: Path) -> Bound:
    """Finds the bound of a quantity: the calibrated one, or the limit where there is none."""
    found = find_calibration(setting, folder)
    return found.bound(quantity, spec) if found else scaled(quantity, setting.precision)


def find_noise(setting: Setting, folder: Path = DIRECTORY) -> Noise | None:
    """Returns the noise of a baseline, None where it was not measured."""
    path = folder / setting.noise_name
    return load_noise(path) if path.is_file() else None


def stored_noise(spec: Spec, quantity: str, where: str, folder: Path = DIRECTORY) -> float | None:
    """Returns the usual noise of a quantity at a place, of any baseline that has it."""
    for path in sorted(folder.glob("noise-*.json")):
        places = load_noise(path).noise.get(spec.sha256, {}).get(quantity, {})
        if where in places:
            return places[where]
    return None


def save_noise(noise: Noise, folder: Path) -> Path:
    """Writes the noise of a baseline under its name, and says where.

    Raises:
        DocumentError: the file cannot be placed there.
    """
    return _write(folder / noise.setting.noise_name, dataclasses.asdict(noise), noise.setting)


def save_calibration(calibration: Calibration, folder: Path) -> Path:
    """Writes a calibration under its setting's name, and says where.

    Its noise is not written with it: :func:`save_noise` does that.

    Raises:
        CalibrationError: a factor beyond its limit: what was measured is not rounding.
        DocumentError: the file cannot be placed there.
    """
    path = folder / calibration.setting.file_name
    _check_factors(calibration, path.name)
    document = dataclasses.asdict(calibration)
    del document["noise"], document["baseline"]
    # The file's key for the baseline.
    document = {"setting": (), "reference": calibration.baseline._asdict(), **document}
    document["multiples"] = {q: m._asdict() for q, m in calibration.multiples.items()}
    return _write(path, document, calibration.setting)


def _read(path: Path, schema: dict[str, Any]) -> dict[str, Any]:
    fields = read_checked(path, schema)
    del fields["version"]
    fields["setting"] = Setting(**fields["setting"])
    return fields


def _write(path: Path, document: dict[str, Any], setting: Setting) -> Path:
    document = {"version": _VERSION, **document, "setting": setting._asdict()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, _format(document, depth=3) + "\n")
    load_noise.cache_clear()
    load_calibration.cache_clear()
    return path


def _format(value: Any, depth: int, indent: str = "") -> str:
    # One line for each quantity, not for each number, so that changes are readable.
    if not isinstance(value, dict) or depth == 0 or not value:
        return json.dumps(value)
    entries = cast("dict[str, Any]", value).items()
    if not any(isinstance(item, dict) for _, item in entries):
        return json.dumps(value)
    deeper = indent + "  "
    rows = [f"{deeper}{json.dumps(k)}: {_format(item, depth - 1, deeper)}" for k, item in entries]
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"


def _check_factors(calibration: Calibration, source: str) -> None:
    for quantity, multiple in calibration.multiples.items():
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


_TEXT = value_schema("string", "a text")
_FROM_0 = value_schema("number", "a number from 0", minimum=0)
_NUMBERS = object_schema(
    "median, largest, compared, spec, seed and where",
    {
        **dict.fromkeys(("median", "largest"), _FROM_0),
        "compared": value_schema("integer", "a whole number from 1", minimum=1),
        "spec": value_schema("string", "a name"),
        "seed": value_schema("integer", "a whole number"),
        "where": value_schema("string", "a place"),
    },
)
_SETTING = object_schema(
    "framework, version, device, precision and mode",
    {
        **dict.fromkeys(Setting._fields, _TEXT),
        "precision": {"enum": list(ROUNDOFFS), "description": f"one of {', '.join(ROUNDOFFS)}"},
    },
)


def _by_name(value: dict[str, Any]) -> dict[str, Any]:
    return value_schema("object", "an object", additionalProperties=value)


def _schema(own: dict[str, Any]) -> dict[str, Any]:
    common = {
        "version": {"const": _VERSION, "description": f"{_VERSION}, the only one there is"},
        "setting": _SETTING,
        **dict.fromkeys(("machine", "command", "measured_on"), _TEXT),
        "seeds": _by_name(value_schema("integer", "a number from 1", minimum=1)),
    }
    return object_schema("a JSON object", common | own)


_POSITIVE = value_schema("number", "a number above 0", exclusiveMinimum=0)
_NOISE_SCHEMA = _schema({"noise": _by_name(_by_name(_by_name(_POSITIVE)))})
_SCHEMA = _schema({"reference": _SETTING, "multiples": _by_name(_NUMBERS)})
