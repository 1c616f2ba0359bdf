"""The plot of runs: their losses step by step, and how far each is from the one they follow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element

from tinynet.utils.scales import round_numbers

from parity.report.drawing import (
    SHAPES,
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
from parity.report.formatting import multiple, number
from parity.report.markup import element
from parity.results import Comparison, Series
from parity.tolerances.bounds import ROUNDOFF

_WIDTH = 1030  # of all steps together, if they are neither very many nor very few
_STEP = (1.5, 90.0)  # the least and most width of one step
_TOP, _UPPER, _GAP, _LOWER, _FOOT = 22, 190, 34, 160, 24
_MIDDLE = _TOP + _UPPER + _GAP
_FLOOR = _MIDDLE + _LOWER
_APART = 44  # least distance of two numbers below the steps


def series_plot(
    title: str,
    truth: Series,
    runs: Sequence[Series],
    samples: Sequence[Series] = (),
    limits: Mapping[int, Sequence[Comparison]] | None = None,
) -> Element:
    """Draws runs over the one they follow, and below it how far from it they are.

    Distances are relative and on a logarithmic scale; where there is none at all there is no mark.

    Args:
        title: what it shows, for those who cannot see it.
        truth: the run that the others follow.
        runs: the others; each may begin later or end earlier.
        samples: runs that differ from ``truth`` by nothing but rounding.
        limits: step -> what the losses of that step were held to, and what came of it.
    """
    limits = limits or {}
    steps = list(_losses(truth))
    width = min(max(_WIDTH / len(steps), _STEP[0]), _STEP[1])
    middles = {step: (index + 0.5) * width for index, step in enumerate(steps)}
    upper = _LinearScale([value for run in (truth, *runs) for value in run.values])
    apart = {run.label: _distances(run, truth) for run in (*samples, *runs)}
    lower = _distance_scale(apart, limits)
    labels = {**upper.labels, **lower.labels}

    drawing = canvas(width * len(steps), _FLOOR + _FOOT)
    drawing.set("role", "img")
    drawing.set("aria-label", f"{title}: {len(steps)} steps, {len(runs)} runs beside one")
    drawing.extend(grid(labels, width * len(steps)))
    drawing.extend(_words(middles, truth))
    drawing.append(_curve(truth, "curve truth", middles, upper))
    drawing.extend(
        _curve(run, f"curve c{index % len(SHAPES)}", middles, upper)
        for index, run in enumerate(runs)
    )
    candidates = [run.label for run in runs]
    drawing.extend(_noise_and_bounds(steps, limits, candidates, width, lower))
    drawing.extend(
        element("circle", _class="sample", cx=middles[step], cy=lower(distance), r=2.2)
        for sample in samples
        for step, distance in apart[sample.label].items()
    )
    failed = [step for step, items in limits.items() if not all(item.passed for item in items)]
    chosen = min(failed, default=steps[-1])
    for step, middle in middles.items():
        held = {item.candidate: item for item in limits.get(step, ())}
        found = {candidate: apart[candidate].get(step) for candidate in candidates}
        marks = _marks(found, held, (middle, width), lower)
        text = _describe(step, truth, runs, found, held)
        column = spot(text, middle - width / 2, width, _FLOOR, *marks, chosen=step == chosen)
        drawing.append(column)
    return plot(_legend(truth, runs, samples, limits), labels, drawing)


class _LinearScale:
    """Heights of losses in the upper panel."""

    def __init__(self, values: Sequence[float]):
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        room = (high - low) / 20 or abs(high) / 20 or 1.0
        self._low, self._high = low - room, high + room

    def __call__(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return round(_TOP + _UPPER * (1 - share), 1)

    @property
    def labels(self) -> dict[str, float]:
        """Label -> height of some round numbers."""
        values = round_numbers(self._low, self._high, 5)
        return {f"{value:.6g}": self(value) for value in values}


def _losses(run: Series) -> dict[int, float]:
    return dict(enumerate(run.values, run.first))


def _distances(run: Series, truth: Series) -> dict[int, float]:
    """Step -> relative distance, where there is any."""
    true = _losses(truth)
    return {
        step: abs(loss - true[step]) / abs(true[step]) if true[step] else math.inf
        for step, loss in _losses(run).items()
        if loss != true[step]
    }


def _distance_scale(
    apart: Mapping[str, Mapping[int, float]], limits: Mapping[int, Sequence[Comparison]]
) -> LogScale:
    values = [value for run in apart.values() for value in run.values()]
    for items in limits.values():
        values += (value for item in items for value in (item.noise, item.bound))
    finite = [value for value in values if 0 < value < math.inf] or [ROUNDOFF]
    # Beyond one it is another run altogether, however far.
    return LogScale(min(finite) / 2, min(2 * max(finite), 1.0), _MIDDLE, _LOWER)


def _words(middles: Mapping[int, float], truth: Series) -> Iterator[Element]:
    yield element("text", "loss", x=4, y=_TOP - 8)
    yield element("text", f"relative distance from {truth.label}", x=4, y=_MIDDLE - 8)
    most = min(math.ceil(max(middles.values()) / _APART), len(middles))
    for step in round_numbers(min(middles) - 1, max(middles), most):
        if middle := middles.get(int(step)):
            yield element("text", f"{step:.0f}", _class="stage", x=middle, y=_FLOOR + 16)


def _curve(run: Series, style: str, middles: Mapping[int, float], scale: _LinearScale) -> Element:
    path, drawing = "", False
    for step, loss in _losses(run).items():
        if math.isfinite(loss):
            path += f"{'L' if drawing else 'M'}{middles[step]:.1f},{scale(loss)}"
        drawing = math.isfinite(loss)
    return element("path", _class=style, d=path)


def _noise_and_bounds(
    steps: Sequence[int],
    limits: Mapping[int, Sequence[Comparison]],
    candidates: Sequence[str],
    width: float,
    scale: LogScale,
) -> Iterator[Element]:
    if not limits:
        return
    noise = [max((item.noise for item in limits.get(step, ())), default=0.0) for step in steps]
    outline = level_line([scale(value) for value in noise], width)
    yield element("path", _class="noise", d=f"{outline}V{_FLOOR}H0z")
    for index, course in enumerate(_bounds(limits, candidates)):
        heights = [None if value is None else scale(value) for value in course]
        yield element("path", _class=f"bound b{index}", d=level_line(heights, width))


def _bounds(
    limits: Mapping[int, Sequence[Comparison]], candidates: Sequence[str]
) -> dict[tuple[float | None, ...], list[str]]:
    items = [item for held in limits.values() for item in held]
    return bound_courses(items, list(dict.fromkeys(item.where for item in items)), candidates)


def _marks(
    distances: Mapping[str, float | None],
    held: Mapping[str, Comparison],
    column: tuple[float, float],
    scale: LogScale,
) -> Iterator[Element]:
    middle, width = column
    for index, (candidate, distance) in enumerate(distances.items()):
        if distance is not None:
            # Side by side, since the modes of one twin often agree to the last bit.
            x = middle + width * ((index + 0.5) / len(distances) - 0.5)
            passed = candidate not in held or held[candidate].passed
            yield mark(index, x, scale(distance), passed, math.isfinite(distance))


def _describe(
    step: int,
    truth: Series,
    runs: Sequence[Series],
    distances: Mapping[str, float | None],
    held: Mapping[str, Comparison],
) -> str:
    lines = [f"step {step}", f"{truth.label}: {truth.values[step - truth.first]:.7g}"]
    for run in runs:
        if not 0 <= step - run.first < len(run.values):
            continue
        loss = run.values[step - run.first]
        distance = distances[run.label]
        apart = "no difference" if distance is None else f"{number(distance)} away"
        lines.append(f"{run.label}: {loss:.7g}, {apart}{_held(held.get(run.label))}")
    return "\n".join(lines)


def _held(item: Comparison | None) -> str:
    if item is None:
        return ""
    times = multiple(item.error, item.noise)
    limit = multiple(item.bound, item.noise) or number(item.bound)
    failed = "" if item.passed else " FAILED"
    return f"{f' ({times} noise)' if times else ''}, bound {limit}{failed}"


def _legend(
    truth: Series,
    runs: Sequence[Series],
    samples: Sequence[Series],
    limits: Mapping[int, Sequence[Comparison]],
) -> list[Element]:
    keys = [key(truth.label, "curve truth", "M0,6H18")]
    candidates = [run.label for run in runs]
    keys += candidate_keys(candidates)
    if samples:
        keys.append(
            key("float32 runs of the baseline", "sample", "M6,6a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z")
        )
    if limits:
        keys.append(key("float32 rounding noise", "noise"))
        keys += bound_keys(list(_bounds(limits, candidates).values()))
    return keys
