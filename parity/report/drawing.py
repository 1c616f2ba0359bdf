"""What the drawings of the page share: a logarithmic scale, marks, keys, and the readout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, pairwise
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
LINE = "M0,6H18"  # the sign of a curve in a legend
_CROSS = "M-3.4,-3.4L3.4,3.4M-3.4,3.4L3.4,-3.4"


class LogScale:
    """Heights, from the top of a drawing, of values on a logarithmic scale of whole decades.

    Smaller values than ``low`` stand on the floor, larger ones than ``high`` at the ceiling, which
    is at ``top``, ``height`` above the floor.
    """

    def __init__(self, low: float, high: float, top: float, height: float):
        self._low = math.floor(math.log10(low))
        self._high = max(math.ceil(math.log10(high)), self._low + 1)
        self._top, self._height, self.floor = top, height, top + height
        self._powers = range(self._low, self._high + 1)
        self.decades = [10.0**power for power in self._powers]

    def __call__(self, value: float) -> float:
        """Returns the height of a value; one that is not finite is at the ceiling."""
        if not math.isfinite(value):
            return self._top
        exponent = math.log10(value) if value > 0 else self._low
        share = (exponent - self._low) / (self._high - self._low)
        return round(self._top + self._height * (1 - min(max(share, 0.0), 1.0)), 1)

    @property
    def labels(self) -> dict[str, float]:
        """Returns label -> height of each decade."""
        return {f"1e{power}": self(10.0**power) for power in self._powers}


def canvas(width: float, height: float, label: str = "") -> Element:
    """Makes an empty drawing; without a label, one beside which the numbers stand."""
    seen = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    return element("svg", viewBox=f"0 0 {width:.1f} {height:.0f}", **size, **seen)


def grid(labels: Mapping[str, float], width: float) -> list[Element]:
    """Draws a line across the drawing for each label of its axis."""
    heights = labels.values()
    return [element("line", _class="grid", x1=0, x2=width, y1=y, y2=y) for y in heights]


def level_line(heights: Sequence[float | None], step: float) -> str:
    """Draws a line with one level step per column, broken where there is none."""
    path = ""
    for index, (before, height) in enumerate(pairwise([None, *heights])):
        if height is not None:
            start = f"M{index * step:.1f}," if before is None else "V"
            path += f"{start}{height}H{(index + 1) * step:.1f}"
    return path


def bound_courses(
    columns: Sequence[Sequence[Comparison]], candidates: Sequence[str]
) -> dict[tuple[float | None, ...], list[str]]:
    """Finds the different courses a bound takes, and the candidates that are held to each."""
    bounds = [{item.candidate: item.bound for item in column} for column in columns]
    courses: dict[tuple[float | None, ...], list[str]] = {}
    for candidate in candidates:
        course = tuple(bound.get(candidate) for bound in bounds)
        courses.setdefault(course, []).append(candidate)
    return courses


def noise_and_bounds(
    columns: Sequence[Sequence[Comparison]],
    courses: Iterable[Sequence[float | None]],
    step: float,
    scale: LogScale,
) -> Iterator[Element]:
    """Draws the area of the rounding noise, and a line for each course of a bound."""
    noise = [max((item.noise for item in column), default=0.0) for column in columns]
    outline = level_line([scale(value) for value in noise], step)
    yield element("path", _class="noise", d=f"{outline}V{scale.floor}H0z")
    for index, course in enumerate(courses):
        heights = [None if value is None else scale(value) for value in course]
        yield element("path", _class=f"bound b{index}", d=level_line(heights, step))


def mark(index: int, x: float, y: float, passed: bool = True, finite: bool = True) -> Element:
    """Draws the mark of a candidate, by its number."""
    number = index % len(SHAPES)
    failed, cross = "" if passed else " failed", "" if finite else " cross"
    style, outline = f"mark s{number}{failed}{cross}", SHAPES[number] if finite else _CROSS
    return element("path", _class=style, d=outline, transform=f"translate({x:.1f},{y:.1f})")


def spot(
    text: str,
    errors: Iterable[tuple[int, float, bool]],
    candidates: int,
    left: float,
    width: float,
    scale: LogScale,
    chosen: bool,
) -> Element:
    """Makes a column that tells its numbers when it is pointed at, tapped or reached by keys.

    It has a mark for each of ``errors``: the number of the candidate, of ``candidates`` in all, its
    error, and whether that passed. Marks stand apart, since the modes of one twin often agree to
    the last bit. The numbers of a ``chosen`` column are told before a reader points.
    """
    hit = element("rect", _class="hit", x=left, y=0, width=width, height=scale.floor)
    made = element("g", element("title", text), hit, _class="spot chosen" if chosen else "spot")
    for index, error, passed in errors:
        x = left + width * (index + 0.5) / candidates
        made.append(mark(index, x, scale(error), passed, math.isfinite(error)))
    return made


def key(text: str, _class: str, shape: str = "") -> Element:
    """Makes an item of a legend: a line, a mark's outline, or else an area."""
    outline = element("rect", _class=_class, width=18, height=12)
    if shape:
        outline = element("path", _class=_class, d=shape)
    width, box = (12, "-4.5 -4.5 9 9") if shape in SHAPES else (18, "0 0 18 12")
    sign = element("svg", outline, width=width, height=12, viewBox=box, aria_hidden="true")
    return element("li", sign, text)


def shade_key(shade: str, text: str, sign: str = "") -> Element:
    """Makes an item of a legend that tells what a shade of a cell means."""
    return element("li", element("span", sign, _class=f"swatch {shade}"), text)


def candidate_keys(candidates: Sequence[str]) -> list[Element]:
    """Makes the items of a legend that tell which candidate a mark is of."""
    shapes = zip(candidates, cycle(enumerate(SHAPES)))
    return [key(candidate, f"mark s{n}", shape) for candidate, (n, shape) in shapes]


def noise_keys(holders: Iterable[Sequence[str]]) -> list[Element]:
    """Makes the items of a legend for the noise, and for who is held to each bound."""
    names = ["bound: " + ", ".join(held) for held in holders]
    names = ["bound"] if len(names) == 1 else names
    bounds = [key(name, f"bound b{index}", LINE) for index, name in enumerate(names)]
    return [key("float32 rounding noise", "noise"), *bounds]


def plot(keys: Sequence[Element], labels: Mapping[str, float], drawing: Element) -> Element:
    """Puts together a drawing from :func:`canvas`, its legend, its axis and what is readable.

    ``labels`` are those of the axis, with their heights.
    """
    axis = canvas(AXIS, float(drawing.get("height", 0)))
    axis.set("class", "axis")
    axis.extend(element("text", label, x=AXIS - 6, y=at + 4) for label, at in labels.items())
    return readable(keys, element("div", axis, drawing, _class="canvas"))


def readable(keys: Sequence[Element], drawing: Element) -> Element:
    """Puts together what holds spots, its legend, and the numbers of the spot that is chosen."""
    chosen = next((item for item in drawing.iter() if "chosen" in item.get("class", "")), None)
    text = "" if chosen is None else chosen.get("title") or chosen.findtext("title") or ""
    # Reachable by keyboard, since it scrolls and arrow keys go from spot to spot.
    label = "Arrow keys go from place to place"
    scroll = element("div", drawing, _class="scroll", tabindex=0, role="group", aria_label=label)
    legend = element("ul", *keys, _class="legend")
    readout = element("figcaption", text, _class="readout", aria_live="polite")
    return element("figure", legend, scroll, readout, _class="plot")
