"""The plot of a rung: every layer's error between its rounding noise and its bound."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree.ElementTree import Element

from parity.evidence import Evidence, Rung
from parity.markup import element
from parity.tolerance import ROUNDOFF
from parity.wording import distance, multiple, number

_WIDTH = 1030  # of all layers together, if they are neither very many nor very few
_STEP = (4.5, 26.0)  # the least and most width of one layer
_TOP, _HEIGHT, _FOOT = 14, 250, 26
_AXIS = 46
_CHARACTER = 6.2  # width of a label's character, to know what fits
# One outline per subject, so that colour is not all that tells them apart.
_SHAPES = (
    "M-2.6,0a2.6,2.6 0 1,0 5.2,0a2.6,2.6 0 1,0 -5.2,0z",
    "M-2.3,-2.3h4.6v4.6h-4.6z",
    "M0,-3.3L3.3,0L0,3.3L-3.3,0z",
    "M0,-3.2L3,2.4H-3z",
)
_CROSS = "M-3.4,-3.4L3.4,3.4M-3.4,3.4L3.4,-3.4"


def measured(rung: Rung) -> list[Evidence]:
    """What of a rung is held against rounding noise."""
    return [item for item in rung.evidence if item.noise > 0]


def noise_plot(rung: Rung) -> Element:
    """Draws a rung: one column per layer, in it one mark per subject.

    Args:
        rung: one in which something is held against rounding noise.
    """
    items = measured(rung)
    places = list(dict.fromkeys(item.where for item in items))
    subjects = list(dict.fromkeys(item.subject for item in items))
    columns = [[item for item in items if item.where == place] for place in places]
    step = min(max(_WIDTH / len(places), _STEP[0]), _STEP[1])
    scale = _Scale(items)
    width = step * len(places)

    plot = element("svg", role="img", **_size(width))
    plot.set("aria-label", f"{rung.title}: {len(places)} places, {len(subjects)} subjects")
    plot.extend(_bands(places, step))
    plot.extend(
        element("line", _class="grid", x1=0, x2=width, y1=scale(value), y2=scale(value))
        for value in scale.decades
    )
    noise = [max(item.noise for item in column) for column in columns]
    outline = _steps([scale(value) for value in noise], step)
    plot.append(element("path", _class="noise", d=f"{outline}V{_floor()}H0z"))
    bounds = _bound_lines(items, places, subjects)
    for index, values in enumerate(bounds):
        heights = [None if value is None else scale(value) for value in values]
        plot.append(element("path", _class=f"bound b{index}", d=_steps(heights, step)))
    # Before anybody points: the first that failed, or else the one nearest to its bound.
    worst = max(items, key=lambda item: (item.severity, item.error))
    chosen = next((item.where for item in items if not item.passed), worst.where)
    for index, column in enumerate(columns):
        drawn = _column(column, subjects, index * step, step, scale)
        if column[0].where == chosen:
            drawn.set("class", "layer chosen")
        plot.append(drawn)

    axis = element("svg", _class="axis", **_size(_AXIS))
    axis.set("aria-hidden", "true")
    axis.extend(
        element("text", f"{value:.0e}".replace("e-0", "e-"), x=_AXIS - 6, y=scale(value) + 4)
        for value in scale.decades
    )
    return element(
        "figure",
        _legend(subjects, list(bounds.values())),
        element("div", element("div", axis, plot, _class="canvas"), _class="scroll"),
        element("figcaption", _describe(columns[places.index(chosen)]), _class="readout"),
        _class="plot",
    )


class _Scale:
    """Logarithmic, from below the smallest noise to above the largest bound."""

    def __init__(self, items: list[Evidence]):
        noises = [item.noise for item in items if item.noise < math.inf] or [ROUNDOFF]
        bounds = [item.bound for item in items if item.bound < math.inf]
        # An error of 0 stands on the floor, and one far above every bound at the ceiling: neither
        # may press all that is of interest into a line.
        errors = [item.error for item in items if item.error < 10]
        self._low = math.floor(math.log10(min(noises) / 3))
        self._high = math.ceil(math.log10(max([*noises, *bounds, *errors])) + 0.2)
        self.decades = [10.0**power for power in range(self._low, self._high + 1)]

    def __call__(self, value: float) -> float:
        """The height, from the top, of a value."""
        if not math.isfinite(value):
            return _TOP
        exponent = math.log10(value) if value > 0 else self._low
        share = (exponent - self._low) / (self._high - self._low)
        return round(_TOP + _HEIGHT * (1 - min(max(share, 0.0), 1.0)), 1)


def _floor() -> int:
    return _TOP + _HEIGHT


def _size(width: float) -> dict[str, str]:
    height = _TOP + _HEIGHT + _FOOT
    return {
        "width": f"{width:.0f}",
        "height": str(height),
        "viewBox": f"0 0 {width:.1f} {height}",
    }


def _steps(heights: Sequence[float | None], step: float) -> str:
    """A line with one level step per layer, broken where there is none."""
    path, drawing = "", False
    for index, height in enumerate(heights):
        if height is not None:
            path += (
                f"{'V' if drawing else f'M{index * step:.1f},'}{height}H{(index + 1) * step:.1f}"
            )
        drawing = height is not None
    return path


def _bands(places: list[str], step: float) -> Iterator[Element]:
    """A label for the layers of each stage, and a tint for every second one."""
    start = 0
    for index, (stage, group) in enumerate(groupby(places, _stage)):
        members = list(group)
        x, width = start * step, len(members) * step
        if index % 2:
            yield element("rect", _class="band", x=x, y=_TOP, width=width, height=_HEIGHT)
        label = stage or members[0].partition(".")[0]
        if len(label) * _CHARACTER < width:
            yield element("text", label, _class="stage", x=x + width / 2, y=_floor() + 17)
        start += len(members)


def _stage(place: str) -> str:
    match = re.match(r"blocks\.\d+|layer\d+", place)
    return match[0] if match else ""


def _bound_lines(
    items: list[Evidence], places: list[str], subjects: list[str]
) -> dict[tuple[float | None, ...], list[str]]:
    """The different courses a bound takes, and the subjects that are held to each."""
    found = {(item.subject, item.where): item.bound for item in items}
    courses: dict[tuple[float | None, ...], list[str]] = {}
    for subject in subjects:
        course = tuple(found.get((subject, place)) for place in places)
        courses.setdefault(course, []).append(subject)
    return courses


def _column(
    column: list[Evidence], subjects: list[str], left: float, step: float, scale: _Scale
) -> Element:
    group = element(
        "g",
        element("title", _describe(column)),
        element("rect", _class="hit", x=left, y=0, width=step, height=_floor()),
        _class="layer",
    )
    for item in column:
        index = subjects.index(item.subject)
        # Side by side, since the modes of one twin often agree to the last bit.
        x = left + step * (index + 0.5) / len(subjects)
        shape = _SHAPES[index % len(_SHAPES)] if math.isfinite(item.error) else _CROSS
        failed = "" if item.passed else " failed"
        cross = "" if math.isfinite(item.error) else " cross"
        group.append(
            element(
                "path",
                _class=f"mark s{index % len(_SHAPES)}{failed}{cross}",
                d=shape,
                transform=f"translate({x:.1f},{scale(item.error)})",
            )
        )
    return group


def _describe(column: list[Evidence]) -> str:
    lines = [column[0].where, f"float32 noise: {max(item.noise for item in column):.3g}"]
    for item in column:
        bound = multiple(item.bound, item.noise) or number(item.bound)
        failed = "" if item.passed else " FAILED"
        note = f" {item.note}" if item.note else ""
        lines.append(f"{item.subject}: {distance(item)}, bound {bound}{failed}{note}")
    return "\n".join(lines)


def _legend(subjects: list[str], bounds: list[list[str]]) -> Element:
    legend = element("ul", _class="legend")
    for index, subject in enumerate(subjects):
        shape = index % len(_SHAPES)
        mark = element("path", _class=f"mark s{shape}", d=_SHAPES[shape])
        key = element("svg", mark, width=12, height=12, viewBox="-4.5 -4.5 9 9")
        legend.append(element("li", key, subject))
    noise = element("rect", _class="noise", width=18, height=12)
    key = element("svg", noise, width=18, height=12)
    legend.append(element("li", key, "float32 rounding noise"))
    for index, held in enumerate(bounds):
        line = element("path", _class=f"bound b{index}", d="M0,6H18")
        key = element("svg", line, width=18, height=12)
        whose = "" if len(bounds) == 1 else f": {', '.join(held)}"
        legend.append(element("li", key, f"bound{whose}"))
    return legend
