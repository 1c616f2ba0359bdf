"""Draws what docs/formula.md shows: law, front, curves, points left out, and budgets met."""

# pyright: standard, reportMissingTypeStubs=false
# (matplotlib's own types are partly unknown)

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tinynet.formula.compound import DEPTH, RESOLUTION, WIDTH, compound_twist, law, width_by_law
from tinynet.formula.drawing import (
    COMPUTED,
    CONTRAST,
    MEASURED,
    Figure,
    draw_curve,
    draw_front,
    macs_of,
    over_macs,
    write_drawings,
)
from tinynet.formula.frontier import Frontier, Point
from tinynet.formula.regression import Process
from tinynet.formula.tiny import TOLERANCE, Curves, TinySolution, fit, leave_one_out, tiny_formula
from tinynet.net.complexity import count
from tinynet.net.twist import derive
from tinynet.utils.scales import round_numbers


def draw(folder: Path, frontier: Frontier, front: Sequence[Point], process: Process) -> list[Path]:
    """Draws the formula on a frontier, as SVG.

    Args:
        folder: where the drawings go; made if it is not there.
        frontier: all points that were measured.
        front: those that the curves are fitted to, at least four.
        process: settings of the Gaussian processes.

    Returns:
        The paths of the drawings.
    """
    curves = fit(front, process)
    base = frontier.base
    most = count(base).macs
    # From 20M to 380M in steps of 5M, where the base is EfficientNet-B0.
    budgets = [round(budget) for budget in round_numbers(0.05 * most, 0.99 * most, 80)]
    solutions = [tiny_formula(base, curves, budget, base.name) for budget in budgets]
    drawings: dict[str, Callable[[Figure], None]] = {
        "law": lambda figure: _law(figure, frontier),
        "front": lambda figure: _front(figure, frontier, front),
        "curves": lambda figure: _curves(figure, front, curves, most, solutions),
        "leave_one_out": lambda figure: _leave_one_out(figure, frontier, front, process),
        "budgets": lambda figure: _budgets(figure, solutions),
    }
    return write_drawings(folder, drawings)


def _law(figure: Figure, frontier: Frontier) -> None:
    left, right = figure.subplots(1, 2)
    points = frontier.points
    places = range(len(points))
    left.bar([p - 0.2 for p in places], [p.cost for p in points], 0.4, color=MEASURED)
    left.bar([p + 0.2 for p in places], [law(p.twist) for p in points], 0.4, color=CONTRAST)
    left.set_xticks(places, [p.name for p in points], rotation=20, ha="right")
    left.set_ylabel("multiply-accumulates / base's")
    left.legend(["counted", "law d w² r²"])

    exponents = [phi / 100 for phi in range(-600, 101)]
    nets = [derive(frontier.base, compound_twist(phi), "") for phi in exponents]
    right.plot(exponents, [count(net).macs / 1e6 for net in nets], color=MEASURED, label="counted")
    base = count(frontier.base).macs / 1e6
    growth = DEPTH * WIDTH**2 * RESOLUTION**2
    by_law = [base * growth**phi for phi in exponents]
    right.plot(exponents, by_law, color=CONTRAST, label=f"law, x {growth:.2f} per step")
    right.set_yscale("log")
    right.set_xlabel("exponent phi of compound scaling")
    right.set_ylabel("million multiply-accumulates")
    right.legend()


def _front(figure: Figure, frontier: Frontier, front: Sequence[Point]) -> None:
    axes = figure.subplots()
    draw_front(axes, frontier.points, front)
    for point in frontier.points:
        beside, across = ((6, -10), "left") if point in front else ((0, 8), "center")
        at = (point.macs / 1e6, point.accuracy)
        axes.annotate(point.name, at, xytext=beside, textcoords="offset points", ha=across)
    axes.margins(x=0.15, y=0.1)
    over_macs(axes)


def _curves(
    figure: Figure,
    front: Sequence[Point],
    curves: Curves,
    base_macs: int,
    solutions: Sequence[TinySolution],
) -> None:
    resolution, depth, width = figure.subplots(1, 3)
    for axes, curve, name in (
        (resolution, curves.resolution, "resolution"),
        (depth, curves.depth, "depth"),
    ):
        draw_curve(axes, curve, name, front, base_macs, lowest=10**-1.4)
    resolution.legend()
    budgets = [solution.budget / 1e6 for solution in solutions]
    width.plot(budgets, [s.twist.width for s in solutions], ".", color=COMPUTED, label="solved")
    by_law = [width_by_law(s.twist, s.budget / base_macs) for s in solutions]
    width.plot(budgets, by_law, color=CONTRAST, label="by the law")
    width.plot(
        macs_of(front), [p.twist.width for p in front], "o", color=MEASURED, label="measured"
    )
    width.set_title("width")
    over_macs(width)
    width.legend()


def _leave_one_out(
    figure: Figure, frontier: Frontier, front: Sequence[Point], process: Process
) -> None:
    found = leave_one_out(frontier.base, front, process)
    names = [row.point.name for row in found]
    places = list(range(len(found)))
    for axes, name in zip(figure.subplots(1, 3), ("resolution", "depth", "width"), strict=True):
        if name == "width":
            axes.plot(places, [row.solution.twist.width for row in found], "s", color=COMPUTED)
        else:
            predicted = [getattr(row.solution, name) for row in found]
            values = [p.value for p in predicted]
            reach = ([p.value - p.low for p in predicted], [p.high - p.value for p in predicted])
            axes.errorbar(places, values, reach, fmt="s", color=COMPUTED, capsize=3)
        axes.plot(places, [getattr(row.point.twist, name) for row in found], "o", color=MEASURED)
        axes.set_xticks(places, names, rotation=20, ha="right")
        axes.set_title(f"{name}: measured (dots), predicted")


def _budgets(figure: Figure, solutions: Sequence[TinySolution]) -> None:
    axes = figure.subplots()
    for moved, colour, label in (
        (False, MEASURED, "at the predicted resolution"),
        (True, COMPUTED, "with the input moved by pixels"),
    ):
        rows = [s for s in solutions if bool(s.pixels) == moved]
        off = [100 * (count(s.spec).macs / s.budget - 1) for s in rows]
        axes.plot([s.budget / 1e6 for s in rows], off, "o", ms=4, color=colour, label=label)
    for bound in (-TOLERANCE, TOLERANCE):
        axes.axhline(100 * bound, color=CONTRAST, lw=0.8)
    axes.set_xlabel("budget, million multiply-accumulates")
    axes.set_ylabel("distance from the budget, %")
    axes.legend()
