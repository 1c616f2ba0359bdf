"""What drawings of the formula and of a search share: colours, front, curves, the axis of macs."""

# pyright: standard, reportMissingTypeStubs=false
# (matplotlib's own types are partly unknown)

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tinynet.formula.frontier import Point
from tinynet.formula.regression import Curve
from tinynet.utils.atomic_files import write_atomically

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError:
    raise ValueError("drawing needs matplotlib: pip install 'tinynet-twins[figures]'") from None

MEASURED, COMPUTED, CONTRAST = "black", "tab:blue", "tab:red"


def write_drawings(
    folder: Path, drawings: Mapping[str, Callable[[Figure], None]], height: float = 3.4
) -> list[Path]:
    """Draws into a folder, as SVG, and returns the paths.

    Args:
        folder: made if it does not exist.
        drawings: what fills each drawing, by its name.
        height: of each, in inches; all are nine wide.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    # Text stays text, and the same numbers make the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tinynet", "font.size": 9}):
        for name, fill in drawings.items():
            figure = Figure(figsize=(9, height), layout="constrained")
            fill(figure)
            paths.append(folder / f"{name}.svg")
            write_atomically(
                paths[-1], lambda to, figure=figure: figure.savefig(to, metadata={"Date": None})
            )
    return paths


def draw_front(axes: Axes, points: Sequence[Point], front: Sequence[Point]) -> None:
    """Draws accuracy over macs, the front joined by a line."""
    others = [point for point in points if point not in front]
    accuracies = [p.accuracy for p in front]
    axes.plot(macs_of(front), accuracies, "o-", color=MEASURED, label="first front")
    accuracies = [p.accuracy for p in others]
    axes.plot(macs_of(others), accuracies, "o", color=CONTRAST, mfc="white", label="dominated")
    axes.set_ylabel("top-1, %")
    axes.legend()


def draw_curve(
    axes: Axes, curve: Curve, name: str, front: Sequence[Point], base_macs: int, lowest: float
) -> None:
    """Draws the curve of a multiplier over macs with its band, and the points of a front.

    Args:
        axes: where.
        curve: the fitted one.
        name: the multiplier's.
        front: the points that it was fitted to.
        base_macs: what a cost ratio of 1 is.
        lowest: cost ratio to begin at; the highest is 1.
    """
    exponents = range(round(100 * math.log10(lowest)), 1)
    costs = [10 ** (exponent / 100) for exponent in exponents]
    predicted = [curve(cost) for cost in costs]
    macs = [cost * base_macs / 1e6 for cost in costs]
    axes.plot(macs, [p.value for p in predicted], color=COMPUTED, label="curve")
    lows, highs = [p.low for p in predicted], [p.high for p in predicted]
    axes.fill_between(macs, lows, highs, color=COMPUTED, alpha=0.2, lw=0, label="95 %")
    axes.plot(macs_of(front), [getattr(p.twist, name) for p in front], "o", color=MEASURED)
    axes.set_title(name)
    over_macs(axes)


def macs_of(points: Sequence[Point]) -> list[float]:
    """Returns the macs of points, in millions."""
    return [point.macs / 1e6 for point in points]


def over_macs(axes: Axes) -> None:
    """Makes the horizontal axis one of millions of macs, logarithmic."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    # Labels of a logarithmic axis are powers of ten, of which few are in sight.
    ticks = [n * 10**power for power in range(-3, 6) for n in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(low, high)
    axes.set_xlabel("million multiply-accumulates")
