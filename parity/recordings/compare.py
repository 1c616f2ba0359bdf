"""Compares two recordings, where neither framework need be installed.

First what was given and where it ran: a difference there is the usual cause of all others. Then
check by check, with the bounds of the suite.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tinynet.backend import FRAMEWORKS
from tinynet.recipe import describe_difference
from tinynet.spec import spec_document
from tinynet.utils.environment import NOT_INSTALLED

from parity.candidates import Candidate
from parity.checks import RECORDED, refuse_unknown
from parity.distances import Array, compare_bits, compare_within
from parity.recordings.format import LOSS, Recorded, Recording, RecordingError
from parity.reference.oracles import mark
from parity.report.document import report_document
from parity.results import CheckResult, Comparison, Kind, Report, Series
from parity.tolerances.bounds import Bound
from parity.tolerances.calibration import DIRECTORY, calibrated_bound

# What a difference means for the comparison.
Meaning = Literal["not comparable", "may explain", "expected"]

_TITLES: dict[Meaning, str] = {
    "may explain": "differences that may explain others:",
    "expected": "differences that are expected:",
}
# Of the packages, those that a recording does not compute with.
_IDLE_PACKAGES = ("onnx", "onnxruntime", "safetensors")


class Difference(NamedTuple):
    """What is not the same in two recordings, apart from the numbers that were computed."""

    what: str
    first: str
    second: str
    meaning: Meaning


@dataclasses.dataclass(frozen=True, slots=True)
class RecordingsComparison:
    """How two recordings differ; ``has_reference`` says whether one has the reference's part."""

    differences: tuple[Difference, ...]
    has_reference: bool
    report: Report


def compare_recordings(
    first: Recording,
    second: Recording,
    names: tuple[str, str] = ("first", "second"),
    command: str = "",
    checks: Sequence[str] = tuple(RECORDED),
    calibrations: Path = DIRECTORY,
) -> RecordingsComparison:
    """Compares two recordings of the same.

    With the reference's part in one of them each recording is held against the truth, otherwise the
    second against the first, within the sum of both bounds.

    Args:
        first: a recording.
        second: another one.
        names: what to call them.
        command: the command line that compares again, for the report.
        checks: which checks, of :data:`parity.checks.RECORDED`, compared in the suite's order.
        calibrations: the folder of the calibrations that bounds are taken from.

    Raises:
        RecordingError: they were recorded from different things, so nothing can be said.
        ValueError: no such check, or no check at all.
    """
    refuse_unknown(checks, RECORDED)
    start = time.perf_counter()
    found = [*_of_what_was_given(first, second), *_of_where_it_ran(first, second)]
    apart = [item for item in found if item.meaning == "not comparable"]
    if apart:
        what = "; ".join(f"{item.what} is {item.first} and {item.second}" for item in apart)
        raise RecordingError(
            f"{names[0]} and {names[1]} cannot be compared: {what}; record one --from the other"
        )
    rule = _rule(first, second)
    sides = [_Side(names[0], first, calibrations), _Side(names[1], second, calibrations)]
    results = (_check(name, sides, rule) for name in RECORDED if name in checks)
    checked = tuple(check for check in results if check.comparisons)
    net, where, seconds = first.spec.name, _environment(first, second), time.perf_counter() - start
    report = Report(net, first.weights, command, checked, where, seconds)
    # What matters most comes first.
    differences = sorted(found, key=lambda item: list(_TITLES).index(item.meaning))
    return RecordingsComparison(tuple(differences), rule.has_reference, report)


def comparison_document(comparison: RecordingsComparison) -> dict[str, Any]:
    """Returns the comparison as a JSON document: what differs, then that of the report."""
    return {
        "differences": [item._asdict() for item in comparison.differences],
        "has_reference": comparison.has_reference,
        **report_document(comparison.report),
    }


def format_differences(comparison: RecordingsComparison) -> str:
    """Writes what differs beside the numbers; the usual cause of all else comes first."""
    lines: list[str] = []
    for meaning, title in _TITLES.items():
        items = [item for item in comparison.differences if item.meaning == meaning]
        width = max((len(item.what) for item in items), default=0)
        rows = [f"  {item.what:<{width}}  {item.first} | {item.second}" for item in items]
        lines += [title, *rows] if rows else []
    if not comparison.has_reference:
        lines.append(
            "neither recording has the reference's part, which PyTorch records: the second is held "
            "against the first, and noise is what moving the inputs by a rounding does"
        )
    return "\n".join(lines)


def _of_what_was_given(first: Recording, second: Recording) -> Iterator[Difference]:
    if first.spec != second.spec:
        one, other = spec_document(first.spec), spec_document(second.spec)
        fields = ", ".join(key for key in one | other if one.get(key) != other.get(key))
        yield Difference(f"spec ({fields})", first.spec.name, second.spec.name, "not comparable")
        return
    if first.recipe != second.recipe:
        what = f"recipe ({describe_difference(first.recipe, second.recipe)})"
        yield Difference(what, first.recipe.name, second.recipe.name, "not comparable")
    for what in ("seed", "images_sha256"):
        one, other = str(getattr(first, what)), str(getattr(second, what))
        if one != other:
            yield Difference(what.replace("_", " "), one, other, "not comparable")
    ones, others = first.given.tensors, second.given.tensors
    for name in ones | others:
        one, other = ones.get(name), others.get(name)
        if one is None or other is None or not compare_bits("", name, other, one).passed:
            # The first that differs says enough; with another state thousands do.
            marks = ["missing" if values is None else mark(values) for values in (one, other)]
            yield Difference(name, marks[0], marks[1], "not comparable")
            return


def _of_where_it_ran(first: Recording, second: Recording) -> Iterator[Difference]:
    alike = first.setting.framework == second.setting.framework
    for what, one, other in _unequal(first.setting._asdict(), second.setting._asdict()):
        # Versions and modes of two frameworks have nothing to do with each other.
        expected = what in ("framework", "device") or (not alike and what in ("version", "mode"))
        yield Difference(what, one, other, "expected" if expected else "may explain")
    used = {first.setting.framework, second.setting.framework} if alike else set[str]()
    idle = {*_IDLE_PACKAGES, *FRAMEWORKS} - used
    for what, one, other in _unequal(first.environment, second.environment):
        # The framework's own version is in the setting.
        if what not in used:
            yield Difference(what, one, other, "expected" if what in idle else "may explain")
    for what, one, other in _unequal(first.switches, second.switches):
        own = what not in first.switches or what not in second.switches
        elsewhere = first.setting.device != second.setting.device
        expected = (own and (elsewhere or not alike)) or what == "accelerator"
        yield Difference(what, one, other, "expected" if expected else "may explain")


def _unequal(first: dict[str, str], second: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for what in first | second:
        values = first.get(what, "not set"), second.get(what, "not set")
        if values[0] != values[1]:
            yield what, *values


def _environment(first: Recording, second: Recording) -> dict[str, str]:
    texts, others = (
        {**r.setting._asdict(), **r.environment, **r.switches} for r in (first, second)
    )
    # What differs comes first.
    found = {what: f"{one} | {other}" for what, one, other in _unequal(texts, others)}
    return {what: text for what, text in (found | texts | found).items() if text != NOT_INSTALLED}


class _Side(NamedTuple):
    # One of the recordings: its name, and where its bounds are from.
    name: str
    recording: Recording
    calibrations: Path

    @property
    def label(self) -> str:
        framework, _, device, precision, mode = self.recording.setting
        return f"{self.name}: {Candidate(framework, mode, device, precision)}"

    def bound(self, quantity: str) -> Bound:
        setting, spec = self.recording.setting, self.recording.spec
        return calibrated_bound(quantity, setting, spec, self.calibrations)


class _Rule(NamedTuple):
    # What recordings are held against, and what rounding does. has_reference: it is the truth.
    has_reference: bool
    tensors: dict[str, Recorded]
    noise: dict[str, float]
    scales: dict[str, float]


def _rule(first: Recording, second: Recording) -> _Rule:
    for recording in (first, second):
        if recording.truth:
            return _Rule(True, recording.truth, recording.noise, _scales(recording.truth))
    ones, others = first.noise, second.noise
    noise = {name: max(ones.get(name, 0.0), others.get(name, 0.0)) for name in ones | others}
    return _Rule(False, first.recorded, noise, _scales(first.recorded))


def scales(truths: Mapping[str, Array], norms: Mapping[str, float]) -> dict[str, float]:
    """Says what errors are relative to, for every tensor where that is not its own norm.

    Args:
        truths: name -> tensor, whole or sampled; names begin with that of a check and a slash.
        norms: name -> norm of the whole tensor.
    """
    found: dict[str, float] = {}
    for check in RECORDED.values():
        prefix = f"{check.name}/"
        names = [name for name in truths if name.startswith(prefix)]
        own_truths = {name.removeprefix(prefix): truths[name] for name in names}
        own_norms = {name.removeprefix(prefix): norms[name] for name in names}
        own = check.scales(own_truths, own_norms)
        found |= {f"{prefix}{place}": scale for place, scale in own.items()}
    return found


def _scales(tensors: dict[str, Recorded]) -> dict[str, float]:
    norms = {name: item.norm for name, item in tensors.items()}
    found = scales({name: item.sample for name, item in tensors.items()}, norms)
    # Of the sample, whose norm is smaller as its root of numbers.
    share = {name: tensors[name].sample.size / math.prod(tensors[name].shape) for name in found}
    return {name: scale * math.sqrt(share[name]) for name, scale in found.items()}


def _check(name: str, sides: Sequence[_Side], rule: _Rule) -> CheckResult:
    start = time.perf_counter()
    first, second = sides
    # What is compared, and whose bounds add up for it.
    tested = [(side.label, side, [side]) for side in sides]
    if not rule.has_reference:
        tested = [(f"{second.label} against {first.label}", second, [first, second])]
    every = first.recording.recorded | second.recording.recorded
    places = [place for place in every if place.startswith(f"{name}/")]
    comparisons = [
        _comparison(place, label, side.recording.recorded.get(place), rule, bounding)
        for place in places
        for label, side, bounding in tested
    ]
    series = _curves(sides, rule) if any(place.startswith(LOSS) for place in places) else ()
    return RECORDED[name].result(comparisons, time.perf_counter() - start, series)


def _comparison(
    place: str, label: str, found: Recorded | None, rule: _Rule, bounding: Sequence[_Side]
) -> Comparison:
    check, *part, where = place.split("/")
    label = ", ".join((label, *part))
    bounds = [side.bound(RECORDED[check].quantity(where, side.recording.spec)) for side in bounding]
    noises = [bound.noise(rule.noise.get(place, 0.0), where) for bound in bounds]
    limit = sum(bound.factor * noise for bound, noise in zip(bounds, noises, strict=True))
    noise, quantity = max(noises), bounds[0].quantity
    expected = rule.tensors.get(place)
    # First what the whole tensors tell and their samples do not.
    kind: Kind
    if expected is None:
        kind, note = "unexpected", "nothing to hold it against"
    elif found is None:
        kind, note = "missing", "it is not there"
    elif found.shape != expected.shape:
        kind, note = "shape", f"shape {found.shape}, expected {expected.shape}"
    elif not math.isfinite(found.norm):
        kind, note = "not finite", "holds a NaN or an infinity"
    else:
        samples, scale = (found.sample, expected.sample), rule.scales.get(place)
        return compare_within(label, where, *samples, noise, limit, quantity, scale)
    return Comparison(label, where, math.inf, limit, noise, kind, note, quantity)


def _curves(sides: Sequence[_Side], rule: _Rule) -> Iterator[Series]:
    runs = {side.label: side.recording.recorded for side in sides}
    runs |= {"float64 reference": rule.tensors} if rule.has_reference else {}
    for label, tensors in runs.items():
        losses = [float(item.sample[0]) for name, item in tensors.items() if name.startswith(LOSS)]
        yield Series(label, tuple(losses))
