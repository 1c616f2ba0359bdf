"""The tiny formula: a budget of multiply-accumulates makes a twist, and that a spec.

Resolution and depth come from curves through the frontier, width from the exact counter.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence

from tinynet.formula.frontier import FRONTIER_DIRECTORY, Point
from tinynet.formula.regression import Curve, Prediction, Process, fit_curve
from tinynet.formula.width_search import Plateau, around, nearest
from tinynet.net.complexity import count
from tinynet.net.rounding import round_resolution
from tinynet.net.twist import count_twist, derive
from tinynet.spec import Spec, Twist
from tinynet.utils.dataclass_json import from_document

# How far from a budget a net may be before another input size is tried, as a share of the budget.
TOLERANCE = 0.01

# Widths are multiples of 1 / 1000.
_THOUSANDTHS = range(1, 8001)


@dataclasses.dataclass(frozen=True, slots=True)
class Curves:
    """Resolution and depth over the cost ratio, through the same points."""

    resolution: Curve
    depth: Curve

    @property
    def lowest(self) -> float:
        """The cost ratio of the cheapest point.

        Below it, and above ``highest``, curves go back to their means, and intervals widen.
        """
        return min(self.resolution.costs)

    @property
    def highest(self) -> float:
        """The cost ratio of the most expensive point."""
        return max(self.resolution.costs)


@dataclasses.dataclass(frozen=True, slots=True)
class Solution:
    """A net for a budget.

    Attributes:
        spec: the net, with derivation and exact counts.
        twist: what made it.
        budget: multiply-accumulates asked for.
        below: the most at or below the budget that was reachable.
        above: the least above it.
    """

    spec: Spec
    twist: Twist
    budget: int
    below: int
    above: int

    @property
    def relative_error(self) -> float:
        """Distance of the net's count from the budget, as a share of the budget."""
        return abs(count(self.spec).macs - self.budget) / self.budget


@dataclasses.dataclass(frozen=True, slots=True)
class TinySolution(Solution):
    """What the tiny formula makes of a budget.

    Attributes:
        resolution: what the curve predicts. The spec's own differs from it where pixels moved.
        depth: what the curve predicts, and the spec has.
        pixels: by how many the input's height was moved to meet the budget.
    """

    resolution: Prediction
    depth: Prediction
    pixels: int


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A point, and what the tiny formula makes of its cost without having seen it."""

    point: Point
    solution: TinySolution


def fit(points: Sequence[Point], process: Process | None = None) -> Curves:
    """Fits resolution and depth over the cost ratio.

    Args:
        points: of a frontier, at least three.
        process: settings of the Gaussian processes.

    Raises:
        ValueError: too few points.

    Source: Han et al., TinyNets (arXiv 2010.14819), for Gaussian-process regression on frontier
    models; kernel and scales are this project's, see :class:`tinynet.formula.regression.Process`.
    """
    process = process or Process()
    costs = [point.cost for point in points]
    return Curves(
        fit_curve(costs, [point.twist.resolution for point in points], process),
        fit_curve(costs, [point.twist.depth for point in points], process),
    )


def released_curves() -> Curves:
    """Returns the curves that :func:`fit` fits to the first front of the released members.

    They are shipped because importing scikit-learn takes longer than the rest of the formula.
    """
    document = json.loads((FRONTIER_DIRECTORY / "fitted/released.json").read_text("utf-8"))
    return from_document(Curves, {key: document[key] for key in ("resolution", "depth")})


def solve_width(base: Spec, resolution: float, depth: float, budget: int, name: str) -> Solution:
    """Finds the width that comes nearest to a budget, at a given resolution and depth.

    Channels are rounded, so the count grows in steps, each for an interval of widths. The middle
    of the nearest step is taken.

    Args:
        base: the spec to twist.
        resolution: multiplier, above 0.
        depth: multiplier, above 0.
        budget: multiply-accumulates for one image.
        name: the new spec's name.

    Raises:
        ValueError: no width from 0.001 to 8 has so few or so many.
    """
    steps = _steps(base, resolution, depth, budget)
    twist = Twist(resolution, depth, nearest(steps, budget).middle / 1000)
    source = f"width solved for {budget:,} macs, given resolution and depth"
    spec = derive(base, twist, name, source)
    return Solution(spec, twist, budget, *(step.macs for step in steps))


def tiny_formula(base: Spec, curves: Curves, budget: int, name: str) -> TinySolution:
    """Finds a net for a budget by the tiny formula.

    Resolution and depth are read off the curves at the budget's cost ratio, and width is solved.
    Where no width comes within 1 %, the input is made a pixel larger, a pixel smaller, two pixels
    larger and so on, as far as the resolution's interval goes, until one does. If none does, the
    nearest of all is taken.

    Args:
        base: the spec to twist; it need not be the one the curves were fitted to.
        curves: from :func:`fit`.
        budget: multiply-accumulates for one image.
        name: the new spec's name.

    Raises:
        ValueError: the budget is not above 0, or no width reaches it.

    Source: Han et al., TinyNets (arXiv 2010.14819). The paper computes width from its cost
    constraint; solving it on the exact counter and moving pixels are this project's.
    """
    if budget < 1:
        raise ValueError(f"the budget is {budget} macs, expected at least 1")
    cost = budget / count(base).macs
    resolution, depth = curves.resolution(cost), curves.depth(cost)
    blocks = round(depth.value, 4)
    tried: list[tuple[int, float, list[Plateau]]] = []
    for pixels, multiplier in _resolutions(base.input_size[1], resolution):
        try:
            steps = _steps(base, multiplier, blocks, budget)
        except ValueError:
            # A larger input may cost too much for any width, where the predicted one does not.
            if not tried:
                raise
            continue
        tried.append((pixels, multiplier, steps))
        if abs(nearest(steps, budget).macs - budget) <= TOLERANCE * budget:
            break
    best = nearest([step for _, _, steps in tried for step in steps], budget)
    pixels, multiplier, _ = next(row for row in tried if best in row[2])
    twist = Twist(multiplier, blocks, best.middle / 1000)
    source = (
        f"tiny formula (arXiv 2010.14819) for {budget:,} macs: "
        f"resolution {resolution}, depth {depth}"
    )
    return TinySolution(
        derive(base, twist, name, source),
        twist,
        budget,
        max(steps[0].macs for _, _, steps in tried),
        min(steps[1].macs for _, _, steps in tried),
        resolution,
        depth,
        pixels,
    )


def leave_one_out(
    base: Spec, points: Sequence[Point], process: Process | None = None
) -> list[LeftOut]:
    """Predicts each point from the others.

    Args:
        base: the spec that the points twist.
        points: at least four.
        process: settings of the Gaussian processes.

    Raises:
        ValueError: too few points.
    """
    found: list[LeftOut] = []
    for point in points:
        curves = fit([other for other in points if other is not point], process)
        found.append(LeftOut(point, tiny_formula(base, curves, point.macs, point.name)))
    return found


def _resolutions(height: int, predicted: Prediction) -> Iterator[tuple[int, float]]:
    """Pixels moved, and the multiplier for it: the prediction, then ever further from it."""
    side = round_resolution(height, predicted.value)
    lowest, highest = (round_resolution(height, r) for r in (predicted.low, predicted.high))
    yield 0, round(predicted.value, 4)
    for distance in itertools.count(1):
        inside = [d for d in (distance, -distance) if lowest <= side + d <= highest]
        if not inside:
            return
        for pixels in inside:
            # Half a pixel more than the side, since it is truncated.
            yield pixels, round((side + pixels + 0.5) / height, 4)


def _steps(base: Spec, resolution: float, depth: float, budget: int) -> list[Plateau]:
    def macs(thousandths: int) -> int:
        return count_twist(base, Twist(resolution, depth, thousandths / 1000)).macs

    what = f"{base.name} with resolution {resolution:g} and depth {depth:g}"
    return around(_THOUSANDTHS, macs, budget, what)
