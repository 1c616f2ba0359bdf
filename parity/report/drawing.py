"""What the drawings of the page share: a logarithmic scale, marks, keys, and the readout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element

from parity.report.markup import element
from parity.results import Comparison

AXIS = 46  # width of the axis, which stays in sight when a drawing scrolls
# One outline per candidate, so that colour is not all that tells them apart.
SHAPES = (
    "M-2.6,0a2.6,2.6 0 1,0 5.2,0a2.6,2.6 0 1,0 -5.2,0z",
    "M-2.3,-2.3h4.6v4.6h-4.6z",
    "M0,-3.3L3.3,0L0,3.3L-3.3,0z",
    "M0,-3.2L3,2.4H-3z",
)
_CROSS = "M-3.4,-3.4L3.4,3.4M-3.4,3.4L3.4,-3.4"


class LogScale:
    """Heights, from the top of a drawing, of values on a logarithmic scale of whole decades.

    Args:
        low: of the scale; what is smaller stands on the floor.
        high: of the scale; what is larger stands at the ceiling.
        top: the ceiling's height.
        height: from ceiling to floor.
    """

    def __init__(self, low: float, high: float, top: float, height: float):
        self._low = math.floor(math.log10(low))
        self._high = max(math.ceil(math.log10(high)), self._low + 1)
        self._top, self._height = top, height
        self._powers = range(self._low, self._high + 1)
        self.decades = [10.0**power for power in self._powers]

    def __call__(self, value: float) -> float:
        """The height of a value; one that is not finite is at the ceiling."""
        if not math.isfinite(value):
            return self._top
        exponent = math.log10(value) if value > 0 else self._low
        share = (exponent - self._low) / (self._high - self._low)
        return round(self._top + self._height * (1 - min(max(share, 0.0), 1.0)), 1)

    @property
    def labels(self) -> dict[str, float]:
        """Label -> height of each decade."""
        return {f"1e{power}": self(10.0**power) for power in self._powers}


def canvas(width: float, height: float) -> Element:
    """An empty drawing."""
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    return element("svg", viewBox=f"0 0 {width:.1f} {height:.0f}", **size)


def grid(labels: Mapping[str, float], width: float) -> list[Element]:
    """A line across the drawing for each label of its axis."""
    return [
        element("line", _class="grid", x1=0, x2=width, y1=height, y2=height)
        for height in labels.values()
    ]


def level_line(heights: Sequence[float | None], step: float) -> str:
    """A line with one level step per column, broken where there is none."""
    path, drawing = "", False
    for index, height in enumerate(heights):
        if height is not None:
            start = "V" if drawing else f"M{index * step:.1f},"
            path += f"{start}{height}H{(index + 1) * step:.1f}"
        drawing = height is not None
    return path


def bound_courses(
    items: Iterable[Comparison], places: Sequence[str], candidates: Sequence[str]
) -> dict[tuple[float | None, ...], list[str]]:
    """The different courses a bound takes, and the candidates that are held to each."""
    found = {(item.candidate, item.where): item.bound for item in items}
    courses: dict[tuple[float | None, ...], list[str]] = {}
    for candidate in candidates:
        course = tuple(found.get((candidate, place)) for place in places)
        courses.setdefault(course, []).append(candidate)
    return courses


def mark(index: int, x: float, y: float, passed: bool = True, finite: bool = True) -> Element:
    """The mark of a candidate, by its number."""
    number = index % len(SHAPES)
    failed, cross = "" if passed else " failed", "" if finite else " cross"
    return element(
        "path",
        _class=f"mark s{number}{failed}{cross}",
        d=SHAPES[number] if finite else _CROSS,
        transform=f"translate({x:.1f},{y:.1f})",
    )


def spot(
    text: str, x: float, width: float, height: float, *children: Element, chosen: bool = False
) -> Element:
    """A column that tells its numbers when it is pointed at, tapped or reached by arrow keys."""
    hit = element("rect", _class="hit", x=x, y=0, width=width, height=height)
    style = "spot chosen" if chosen else "spot"
    return element("g", element("title", text), hit, *children, _class=style)


def key(text: str, _class: str, shape: str = "") -> Element:
    """An item of a legend: a line, a mark's outline, or else an area."""
    box = "-4.5 -4.5 9 9" if shape in SHAPES else "0 0 18 12"
    sign = element("svg", width=12 if shape in SHAPES else 18, height=12, viewBox=box)
    sign.set("aria-hidden", "true")
    if shape:
        sign.append(element("path", _class=_class, d=shape))
    else:
        sign.append(element("rect", _class=_class, width=18, height=12))
    return element("li", sign, text)


def shade_key(shade: str, text: str, sign: str = "") -> Element:
    """An item of a legend that tells what a shade of a cell means."""
    return element("li", element("span", sign, _class=f"swatch {shade}"), text)


def candidate_keys(candidates: Sequence[str]) -> list[Element]:
    """The items of a legend that tell which candidate a mark is of."""
    return [
        key(candidate, f"mark s{index % len(SHAPES)}", SHAPES[index % len(SHAPES)])
        for index, candidate in enumerate(candidates)
    ]


def bound_keys(holders: Sequence[Sequence[str]]) -> list[Element]:
    """The items of a legend that tell who is held to each bound."""
    shared = len(holders) == 1
    return [
        key("bound" if shared else f"bound: {', '.join(held)}", f"bound b{index}", "M0,6H18")
        for index, held in enumerate(holders)
    ]


def plot(keys: Sequence[Element], labels: Mapping[str, float], drawing: Element) -> Element:
    """A drawing with its legend, its axis and the numbers of the spot that is chosen.

    Args:
        keys: the items of the legend.
        labels: of the axis, with their heights.
        drawing: from :func:`canvas`, with one of its spots chosen.
    """
    axis = canvas(AXIS, float(drawing.get("height", 0)))
    axis.set("class", "axis")
    axis.set("aria-hidden", "true")
    axis.extend(
        element("text", label, x=AXIS - 6, y=height + 4) for label, height in labels.items()
    )
    return readable(keys, element("div", axis, drawing, _class="canvas"))


def readable(keys: Sequence[Element], drawing: Element) -> Element:
    """What holds spots, with its legend, and below it the numbers of the spot that is chosen."""
    chosen = next((item for item in drawing.iter() if "chosen" in item.get("class", "")), None)
    text = "" if chosen is None else chosen.get("title") or chosen.findtext("title") or ""
    # Reachable by keyboard, since it scrolls and arrow keys go from spot to spot.
    scroll = element(
        "div", drawing, _class="scroll", tabindex=0, role="group",
        aria_label="Arrow keys go from place to place",
    )  # fmt: skip
    return element(
        "figure",
        element("ul", *keys, _class="legend"),
        scroll,
        element("figcaption", text, _class="readout", aria_live="polite"),
        _class="plot",
    )
