"""The plot of a check: every layer's error between its rounding noise and its bound."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from xml.etree.ElementTree import Element

from parity.report.drawing import (
    LogScale,
    bound_courses,
    bound_keys,
    candidate_keys,
    canvas,
    grid,
    key,
    level_line,
    mark,
    plot,
    spot,
)
from parity.report.formatting import distance, multiple, number
from parity.report.markup import element
from parity.results import CheckResult, Comparison
from parity.tolerances.bounds import ROUNDOFF

_WIDTH = 1030  # of all layers together, if they are neither very many nor very few
_STEP = (4.5, 26.0)  # the least and most width of one layer
_TOP, _HEIGHT, _FOOT = 14, 250, 26
_CHARACTER = 6.2  # width of a label's character, to know what fits


# A drawing of fewer places says less than a table of them.
_FEW = 6


def is_for_a_drawing(check: CheckResult) -> bool:
    """Whether a check measures so many places that a table of them would not be read."""
    return len({item.where for item in measured(check)}) > _FEW


def measured(check: CheckResult) -> list[Comparison]:
    """What of a check is held against rounding noise."""
    return [item for item in check.comparisons if item.noise > 0]


def noise_plot(check: CheckResult) -> Element:
    """Draws a check: one column per layer, in it one mark per candidate.

    Args:
        check: one in which something is held against rounding noise.
    """
    items = measured(check)
    places = list(dict.fromkeys(item.where for item in items))
    candidates = list(dict.fromkeys(item.candidate for item in items))
    columns = [[item for item in items if item.where == place] for place in places]
    step = min(max(_WIDTH / len(places), _STEP[0]), _STEP[1])
    scale = noise_scale(items, _TOP, _HEIGHT)
    width = step * len(places)

    drawing = canvas(width, _TOP + _HEIGHT + _FOOT)
    drawing.set("role", "img")
    drawing.set("aria-label", f"{check.title}: {len(places)} places, {len(candidates)} candidates")
    drawing.extend(_bands(places, step))
    drawing.extend(grid(scale.labels, width))
    noise = [max(item.noise for item in column) for column in columns]
    outline = level_line([scale(value) for value in noise], step)
    drawing.append(element("path", _class="noise", d=f"{outline}V{_TOP + _HEIGHT}H0z"))
    bounds = bound_courses(items, places, candidates)
    for index, values in enumerate(bounds):
        heights = [None if value is None else scale(value) for value in values]
        drawing.append(element("path", _class=f"bound b{index}", d=level_line(heights, step)))
    chosen = first_to_show(items)
    for index, column in enumerate(columns):
        marks = side_by_side(column, candidates, index * step, step, scale)
        drawing.append(
            spot(
                describe(column), index * step, step, _TOP + _HEIGHT, *marks,
                chosen=column[0].where == chosen.where,
            )
        )  # fmt: skip
    keys = [*candidate_keys(candidates), key("float32 rounding noise", "noise")]
    return plot([*keys, *bound_keys(list(bounds.values()))], scale.labels, drawing)


def noise_scale(items: Sequence[Comparison], top: float, height: float) -> LogScale:
    """A scale from below the smallest noise to above the largest bound."""
    noises = [item.noise for item in items if item.noise < float("inf")] or [ROUNDOFF]
    bounds = [item.bound for item in items if item.bound < float("inf")]
    # An error of 0 stands on the floor, and one far above every bound at the ceiling: neither
    # may press all that is of interest into a line.
    errors = [item.error for item in items if item.error < 10]
    return LogScale(min(noises) / 3, 1.6 * max([*noises, *bounds, *errors]), top, height)


def first_to_show(items: Sequence[Comparison]) -> Comparison:
    """What to tell before anybody points: the first that failed, or the nearest to its bound."""
    worst = max(items, key=lambda item: (item.severity, item.error))
    return next((item for item in items if not item.passed), worst)


def side_by_side(
    column: Iterable[Comparison],
    candidates: Sequence[str],
    left: float,
    step: float,
    scale: LogScale,
) -> Iterator[Element]:
    """The marks of a column, since the modes of one twin often agree to the last bit."""
    for item in column:
        index = candidates.index(item.candidate)
        x = left + step * (index + 0.5) / len(candidates)
        yield mark(index, x, scale(item.error), item.passed, item.error < float("inf"))


def describe(column: Sequence[Comparison]) -> str:
    """The numbers of a column, a line for each candidate."""
    lines = [column[0].where, f"float32 noise: {max(item.noise for item in column):.3g}"]
    for item in column:
        bound = multiple(item.bound, item.noise) or number(item.bound)
        failed = "" if item.passed else " FAILED"
        note = f" {item.note}" if item.note else ""
        lines.append(f"{item.candidate}: {distance(item)}, bound {bound}{failed}{note}")
    return "\n".join(lines)


def _bands(places: Sequence[str], step: float) -> Iterator[Element]:
    """A label for the layers of each stage, and a tint for every second one."""
    start = 0
    for index, (stage, group) in enumerate(groupby(places, _stage)):
        members = list(group)
        x, width = start * step, len(members) * step
        if index % 2:
            yield element("rect", _class="band", x=x, y=_TOP, width=width, height=_HEIGHT)
        label = stage or members[0].partition(".")[0]
        if len(label) * _CHARACTER < width:
            middle = {"x": x + width / 2, "y": _TOP + _HEIGHT + 17}
            yield element("text", label, _class="stage", **middle)
        start += len(members)


def _stage(place: str) -> str:
    match = re.match(r"blocks\.\d+|layer\d+", place)
    return match[0] if match else ""
