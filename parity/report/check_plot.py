"""The drawings of a check: each place's error under its bound, and how near all came to theirs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree.ElementTree import Element

from parity.report import drawing
from parity.report.formatting import distance, held_to
from parity.report.markup import element
from parity.results import CheckResult, Comparison
from parity.tolerances.bounds import ROUNDOFF

_WIDTH = 1030  # of all layers together, if they are neither very many nor very few
_STEP = (4.5, 26.0)  # the least and most width of one layer
_TOP, _HEIGHT, _FOOT = 14, 250, 26
_CHARACTER = 6.2  # width of a label's character, to know what fits
# A drawing of fewer places says less than a table of them.
_FEW = 6
# The spread: from a thousandth of the bound to a thousand times it, in halves of a decade; what is
# outside goes to the ends.
_BINS_PER_DECADE, _HALF = 2, 6
_BAR, _BARS = 9, 26


def is_for_a_drawing(check: CheckResult) -> bool:
    """Says whether a check measures so many places that a table of them would not be read."""
    return len({item.where for item in measured(check)}) > _FEW


def measured(check: CheckResult) -> list[Comparison]:
    """Picks what of a check is held against rounding noise."""
    return [item for item in check.comparisons if item.noise > 0]


def check_plot(check: CheckResult) -> Element:
    """Draws what a check measures: a column for each layer, in it a mark for each candidate."""
    items = measured(check)
    places = list(dict.fromkeys(item.where for item in items))
    candidates = list(dict.fromkeys(item.candidate for item in items))
    columns = [[item for item in items if item.where == place] for place in places]
    step, scale = min(max(_WIDTH / len(places), _STEP[0]), _STEP[1]), _scale(items)
    width = step * len(places)
    label = f"{check.title}: {len(places)} places, {len(candidates)} candidates"
    made = drawing.canvas(width, _TOP + _HEIGHT + _FOOT, label)
    made.extend(_bands(places, step))
    made.extend(drawing.grid(scale.labels, width))
    bounds = drawing.bound_courses(columns, candidates)
    made.extend(drawing.noise_and_bounds(columns, bounds, step, scale))
    chosen = first_to_show(items).where
    for index, (place, column) in enumerate(zip(places, columns, strict=True)):
        errors = [(candidates.index(item.candidate), item.error, item.passed) for item in column]
        where = len(candidates), index * step, step, scale
        made.append(drawing.spot(describe(column), errors, *where, chosen=place == chosen))
    keys = [*drawing.candidate_keys(candidates), *drawing.noise_keys(bounds.values())]
    return drawing.plot(keys, scale.labels, made)


def _scale(items: Sequence[Comparison]) -> drawing.LogScale:
    # From below the smallest noise to above the largest bound.
    noises = [item.noise for item in items if item.noise < math.inf] or [ROUNDOFF]
    bounds = [item.bound for item in items if item.bound < math.inf]
    # An error of 0 is drawn on the floor, and one far above every bound at the ceiling: neither
    # may press all that is of interest into a line.
    errors = [item.error for item in items if item.error < 10]
    high = 1.6 * max([*noises, *bounds, *errors])
    return drawing.LogScale(min(noises) / 3, high, _TOP, _HEIGHT)


def first_to_show(items: Sequence[Comparison]) -> Comparison:
    """Picks what to tell before a reader points: the first failure, or the nearest to its bound."""
    worst = max(items, key=lambda item: (item.severity, item.error))
    return next((item for item in items if not item.passed), worst)


def describe(column: Sequence[Comparison]) -> str:
    """Tells the numbers of a column, a line for each candidate."""
    lines = [column[0].where, f"float32 noise: {max(item.noise for item in column):.3g}"]
    for item in column:
        note = f" {item.note}" if item.note else ""
        lines.append(f"{item.candidate}: {distance(item)}, {held_to(item)}{note}")
    return "\n".join(lines)


def _bands(places: Sequence[str], step: float) -> Iterator[Element]:
    """Labels the layers of each stage, and tints every second one."""
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


def spread(check: CheckResult) -> Element:
    """Draws a bar for each range of shares of the bound; right of the line is what failed."""
    counts = [0] * (2 * _HALF)
    for item in check.comparisons:
        counts[_bin(item)] += 1
    most = math.log1p(max(counts))
    failed = len(check.failures)
    text = f"{len(check.comparisons) - failed:,} within their bounds, {failed:,} beyond"
    made = drawing.canvas(len(counts) * _BAR, _BARS, text)
    made.append(element("title", text))
    for index, count in enumerate(counts):
        if count:
            # Logarithmic, so that a single one is seen beside thousands.
            height = max(_BARS * math.log1p(count) / most, 3.0)
            style = "fill" if index < _HALF else "fill failed"
            at = {"x": index * _BAR + 1, "y": _BARS - height}
            made.append(element("rect", _class=style, **at, width=_BAR - 2, height=height))
    middle = _HALF * _BAR
    made.append(element("line", _class="limit", x1=middle, x2=middle, y1=0, y2=_BARS))
    return element("span", made, _class="spread")


def _bin(item: Comparison) -> int:
    lowest, highest = (0, _HALF - 1) if item.passed else (_HALF, 2 * _HALF - 1)
    if item.severity == 0 or not math.isfinite(item.severity):
        return highest if item.severity else 0
    index = math.floor(math.log10(item.severity) * _BINS_PER_DECADE) + _HALF
    return min(max(index, lowest), highest)
