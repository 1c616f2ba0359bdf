"""Draws a search: accuracy over each multiplier at fixed cost, the front, curves with bands."""

# pyright: standard, reportMissingTypeStubs=false
# (matplotlib's own types are partly unknown)

from __future__ import annotations

from pathlib import Path

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
from tinynet.formula.tiny import Curves
from tinynet.net.complexity import count
from tinynet.search.analysis import MULTIPLIERS, Found

_COLOURS = (MEASURED, COMPUTED, CONTRAST, "tab:green", "tab:orange", "tab:purple")


def draw(folder: Path, found: Found) -> list[Path]:
    """Draws what a search found, as SVG.

    Args:
        folder: where the drawings go; made if it is not there.
        found: what was collected; without curves they are not drawn.

    Returns:
        The paths of the drawings.
    """
    paths = write_drawings(
        folder, {"search_fixed_cost": lambda figure: _fixed_cost(figure, found)}, height=4.2
    )
    drawings = {"search_front": lambda figure: _front(figure, found)}
    curves = found.curves
    if curves is not None:
        drawings["search_curves"] = lambda figure: _curves(figure, found, curves)
    return [*paths, *write_drawings(folder, drawings)]


def _fixed_cost(figure: Figure, found: Found) -> None:
    costs = [spread.cost for spread in found.spreads]
    # With many costs, colours repeat.
    colours = {cost: _COLOURS[place % len(_COLOURS)] for place, cost in enumerate(costs)}
    for axes, name in zip(figure.subplots(1, 3, sharey=True), MULTIPLIERS, strict=True):
        lines = [name]
        for row in found.correlations:
            if row.multiplier != name:
                continue
            same = [m for m in found.models if m.cost == row.cost]
            places = [getattr(m.twist, name) for m in same]
            colour = colours[row.cost]
            axes.plot(
                places, [m.accuracy for m in same], "o", ms=4, color=colour, label=f"{row.cost:g}"
            )
            for place, m in zip(places, same, strict=True):
                reach = min(m.accuracies), max(m.accuracies)
                axes.plot([place, place], reach, color=colour, lw=0.8)
            if row.rho is not None:
                lines.append(f"{row.cost:g}: rho {row.rho:+.2f}, p {row.p:.3f}, n {row.models}")
        axes.set_title("\n".join(lines), fontsize=9)
        axes.set_xlabel(f"{name} multiplier")
    figure.axes[0].set_ylabel("top-1, %: mean of seeds, and reach")
    figure.axes[0].legend(title="cost")


def _front(figure: Figure, found: Found) -> None:
    axes = figure.subplots()
    draw_front(axes, found.frontier.points, found.front)
    over_macs(axes)


def _curves(figure: Figure, found: Found, curves: Curves) -> None:
    resolution, depth, width = figure.subplots(1, 3)
    base_macs = count(found.frontier.base).macs
    lowest = 0.7 * min(curves.lowest, *(spread.cost for spread in found.spreads))
    draw_curve(resolution, curves.resolution, "resolution", found.front, base_macs, lowest)
    draw_curve(depth, curves.depth, "depth", found.front, base_macs, lowest)
    resolution.legend()
    chosen = found.chosen
    budgets, widths = [s.budget / 1e6 for s in chosen], [s.twist.width for s in chosen]
    width.plot(budgets, widths, "s", color=COMPUTED, label="chosen")
    widths = [p.twist.width for p in found.front]
    width.plot(macs_of(found.front), widths, "o", color=MEASURED, label="measured")
    width.set_title("width")
    over_macs(width)
    width.legend()
