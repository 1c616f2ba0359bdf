"""The plot of runs: their losses step by step, and how far each is from the one they follow."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from tinynet.utils.scales import round_numbers

from parity.report import drawing
from parity.report.formatting import held_to, multiple, number
from parity.report.markup import element
from parity.results import Comparison, Series
from parity.tolerances.bounds import ROUNDOFF

_WIDTH = 1030  # of all steps together, if they are neither very many nor very few
_STEP = (1.5, 90.0)  # the least and most width of one step
_TOP, _UPPER, _GAP, _LOWER, _FOOT = 22, 190, 34, 160, 24
_MIDDLE = _TOP + _UPPER + _GAP
_FLOOR = _MIDDLE + _LOWER
_APART = 44  # least distance of two numbers below the steps
_RING = "M6,6a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z"


def read_curve(
    label: str, log: str | os.PathLike[str], after: int = 0, last: int | None = None
) -> Series:
    """Reads a run's losses in its ``log.jsonl`` that has every step's.

    Takes the steps after ``after`` and up to ``last``.

    Raises:
        OSError: the file cannot be opened.
        ValueError: steps are missing.
    """
    lines = Path(log).read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    losses = {
        record["step"]: record["loss"]
        for record in records
        if record["kind"] == "train" and after < record["step"] <= (last or record["step"])
    }
    for expected, step in enumerate(losses, after + 1):
        if step != expected:
            raise ValueError(f"{os.fspath(log)}: tells of step {step}, expected step {expected}")
    return Series(label, tuple(losses.values()), after + 1)


def run_plot(
    title: str,
    truth: Series,
    runs: Sequence[Series],
    samples: Sequence[Series] = (),
    limits: Mapping[int, Sequence[Comparison]] | None = None,
) -> Element:
    """Draws runs over the one they follow, and below it their relative distances that are not 0.

    Args:
        title: what it shows, for those who cannot see it.
        truth: the run that the others follow.
        runs: the others; each may begin later or end earlier.
        samples: runs that differ from ``truth`` by nothing but rounding.
        limits: step -> what the losses of that step were held to, and what came of it.
    """
    limits = limits or {}
    true = dict(enumerate(truth.values, truth.first))
    losses = {run.label: dict(enumerate(run.values, run.first)) for run in (*samples, *runs)}
    steps = list(true)
    width = min(max(_WIDTH / len(steps), _STEP[0]), _STEP[1])
    middles = {step: (index + 0.5) * width for index, step in enumerate(steps)}
    upper = _LinearScale([value for run in (truth, *runs) for value in run.values])
    apart = {label: _distances(told, true) for label, told in losses.items()}
    lower = _distance_scale(apart, limits)
    labels = {**upper.labels, **lower.labels}
    candidates = [run.label for run in runs]
    columns = [limits.get(step, ()) for step in steps]
    bounds = drawing.bound_courses(columns, candidates) if limits else {}

    label = f"{title}: {len(steps)} steps, {len(runs)} runs beside one"
    made = drawing.canvas(width * len(steps), _FLOOR + _FOOT, label)
    made.extend(drawing.grid(labels, width * len(steps)))
    made.extend(_words(middles, truth))
    made.append(_curve(true, "curve truth", middles, upper))
    for index, name in enumerate(candidates):
        style = f"curve c{index % len(drawing.SHAPES)}"
        made.append(_curve(losses[name], style, middles, upper))
    if limits:
        made.extend(drawing.noise_and_bounds(columns, bounds, width, lower))
    for sample in samples:
        for step, distance in apart[sample.label].items():
            spot = {"cx": middles[step], "cy": lower(distance), "r": 2.2}
            made.append(element("circle", _class="sample", **spot))
    failed = [step for step, items in limits.items() if not all(item.passed for item in items)]
    chosen = min(failed, default=steps[-1])
    for step, column in zip(steps, columns, strict=True):
        held = {item.candidate: item for item in column}
        lines = [f"step {step}", f"{truth.label}: {true[step]:.7g}"]
        errors: list[tuple[int, float, bool]] = []
        for index, name in enumerate(candidates):
            distance, limit = apart[name].get(step), held.get(name)
            if step in losses[name]:
                lines.append(f"{name}: {losses[name][step]:.7g}, {_apart(distance, limit)}")
            if distance is not None:
                errors.append((index, distance, limit is None or limit.passed))
        where = len(runs), middles[step] - width / 2, width, lower
        made.append(drawing.spot("\n".join(lines), errors, *where, chosen=step == chosen))
    keys = [drawing.key(truth.label, "curve truth", drawing.LINE)]
    keys += drawing.candidate_keys(candidates)
    keys += [drawing.key("float32 runs of the baseline", "sample", _RING)] * bool(samples)
    keys += drawing.noise_keys(bounds.values()) if limits else []
    return drawing.plot(keys, labels, made)


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
        """Returns label -> height of some round numbers."""
        values = round_numbers(self._low, self._high, 5)
        return {f"{value:.6g}": self(value) for value in values}


def _distances(losses: Mapping[int, float], true: Mapping[int, float]) -> dict[int, float]:
    """Step -> relative distance, where there is any."""
    unequal = {step: loss - true[step] for step, loss in losses.items() if loss != true[step]}
    return {n: abs(by) / abs(true[n]) if true[n] else math.inf for n, by in unequal.items()}


def _distance_scale(
    apart: Mapping[str, Mapping[int, float]], limits: Mapping[int, Sequence[Comparison]]
) -> drawing.LogScale:
    values = [value for run in apart.values() for value in run.values()]
    for items in limits.values():
        values += (value for item in items for value in (item.noise, item.bound))
    finite = [value for value in values if 0 < value < math.inf] or [ROUNDOFF]
    # Beyond one it is another run altogether, however far.
    return drawing.LogScale(min(finite) / 2, min(2 * max(finite), 1.0), _MIDDLE, _LOWER)


def _words(middles: Mapping[int, float], truth: Series) -> Iterator[Element]:
    yield element("text", "loss", x=4, y=_TOP - 8)
    yield element("text", f"relative distance from {truth.label}", x=4, y=_MIDDLE - 8)
    most = min(math.ceil(max(middles.values()) / _APART), len(middles))
    for step in round_numbers(min(middles) - 1, max(middles), most):
        if middle := middles.get(int(step)):
            yield element("text", f"{step:.0f}", _class="stage", x=middle, y=_FLOOR + 16)


def _curve(
    losses: Mapping[int, float], style: str, middles: Mapping[int, float], scale: _LinearScale
) -> Element:
    path, begun = "", False
    for step, loss in losses.items():
        if math.isfinite(loss):
            path += f"{'L' if begun else 'M'}{middles[step]:.1f},{scale(loss)}"
        begun = math.isfinite(loss)
    return element("path", _class=style, d=path)


def _apart(distance: float | None, held: Comparison | None) -> str:
    text = "no difference" if distance is None else f"{number(distance)} away"
    times = held and multiple(held.error, held.noise)
    text += f" ({times} noise)" if times else ""
    return f"{text}, {held_to(held)}" if held else text
