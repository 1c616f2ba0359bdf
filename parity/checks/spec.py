"""The spec: its own JSON, what it counts to, and what its twist makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, cast

from tinynet.net import rounding
from tinynet.net.complexity import count
from tinynet.net.twist import derive
from tinynet.spec import (
    SPEC_DIRECTORY,
    Spec,
    format_spec,
    list_specs,
    load_spec,
    parse_spec,
    spec_document,
)
from tinynet.utils.strict_json import format_path

from parity.checks.base import Check, compare_equal
from parity.context import Context
from parity.reference import structure
from parity.results import CheckResult, Comparison
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect


class _Part(StrEnum):
    ROUND_TRIP = "round trip"
    BLOCKS = "blocks"
    COUNTS = "counts"
    DERIVATION = "derivation"


class SpecCheck(Check):
    """A spec survives its own JSON, counts to what it expects, and is what its twist makes."""

    name = "spec"
    title = "The spec is what it says it is"
    unit = "relative difference"
    reason = "counts and derivation are integer arithmetic"

    def compare(self, context: Context) -> Iterator[Comparison]:
        spec = context.spec
        yield _fields("JSON round trip", spec, parse_spec(format_spec(spec)), _Part.ROUND_TRIP)
        yield _resolved(spec)
        if spec.expected is not None:
            counted = count(spec)
            for field in ("macs", "params"):
                wanted, found = getattr(spec.expected, field), getattr(counted, field)
                note = "" if found == wanted else f"the layers count to {found}, expected {wanted}"
                where, error = f"expected.{field}", abs(found - wanted) / wanted
                yield Comparison("layer table", where, error, 0.0, note=note, part=_Part.COUNTS)
        if spec.derivation is not None and spec.derivation.base in list_specs():
            base = load_spec(spec.derivation.base)
            derived = derive(base, spec.derivation.twist, spec.name)
            yield _fields(f"derived from {base.name}", derived, spec, _Part.DERIVATION)

    def locate(self, context: Context, result: CheckResult) -> Suspect:
        first, spec = result.failures[0], context.spec
        shipped = [load_spec(name) for name in list_specs()]
        file = SPEC_DIRECTORY / f"{spec.name}.json"
        own = file.relative_to(SPEC_DIRECTORY.parents[1]).as_posix()
        by_hand = Source(own if file.is_file() else "the spec's own file", first.where)
        if first.part == _Part.ROUND_TRIP:
            explanation = f"{first.where} does not survive being written and read."
            return self.suspect(first, Source.of(parse_spec), explanation)
        if first.part == _Part.BLOCKS:
            explanation = f"Both twins are built with {first.where} {first.note}."
            return self.suspect(first, Source.of(Spec.blocks), explanation)
        if first.part == _Part.COUNTS:
            wrong = [s.name for s in shipped if s.expected and count(s) != s.expected]
            if set(wrong) - {spec.name}:
                explanation = f"The layer table miscounts {len(wrong)} shipped specs."
                return self.suspect(first, Source.of(count), explanation)
            explanation = f"Its layers do not count to {first.where}: {first.note}."
            return self.suspect(first, by_hand, explanation)
        if not any(_is_derived_otherwise(other) for other in shipped if other.name != spec.name):
            explanation = f"{first.where} is not what its twist makes: {first.note}."
            return self.suspect(first, by_hand, explanation)
        of_fields = {
            "repeats": rounding.round_repeats,
            "out_channels": rounding.round_channels,
            "input_size": rounding.round_resolution,
        }
        fields = (function for field, function in of_fields.items() if field in first.where)
        explanation = f"{first.where} of this spec, and of others too, is derived as {first.note}."
        return self.suspect(first, Source.of(next(fields, derive)), explanation)


def _is_derived_otherwise(spec: Spec) -> bool:
    if not spec.derivation:
        return False
    base = load_spec(spec.derivation.base)
    return derive(base, spec.derivation.twist, spec.name).stages != spec.stages


def _resolved(spec: Spec) -> Comparison:
    # What both twins are built from, so that no comparison of them would show it.
    rows = structure.rows(spec)
    for block in spec.blocks():
        stride, has_skip = rows[block.key].stride, rows[block.key].has_skip
        padding = structure.padding(spec.padding, block.kernel_size, stride, block.in_size)
        expected = {"stride": stride, "has_skip": has_skip, "padding": padding}
        for field, wanted in expected.items():
            found = getattr(block, field)
            if found != wanted:
                note = f"{found}, expected {wanted}"
                return compare_equal("blocks", f"{block.key}.{field}", note, part=_Part.BLOCKS)
    return compare_equal("blocks", "strides, skips and paddings", "", part=_Part.BLOCKS)


def _fields(candidate: str, found: Spec, expected: Spec, part: _Part) -> Comparison:
    has, wants = dict(_leaves(spec_document(found))), dict(_leaves(spec_document(expected)))
    for path in {**wants, **has}:
        if path != "source" and has.get(path) != wants.get(path):
            note = f"{has.get(path)!r}, expected {wants.get(path)!r}"
            return compare_equal(candidate, path, note, part=part)
    return compare_equal(candidate, "every field", "", part=part)


def _leaves(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    children: Iterable[tuple[str | int, Any]]
    if isinstance(value, dict):
        children = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        children = enumerate(cast("list[Any]", value))
    else:
        yield format_path(steps), value
        return
    for step, child in children:
        yield from _leaves(child, (*steps, step))
