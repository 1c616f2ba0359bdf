"""Tables on the tiny formula: predictions of points it never saw, and the law it does not trust."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from tinynet.formula.compound import law, width_by_law
from tinynet.formula.frontier import Point
from tinynet.formula.tiny import Curves, LeftOut
from tinynet.utils.tables import table


def format_curves(curves: Curves) -> str:
    """The hyper-parameters of fitted curves, for people."""
    header = ("curve", "kernel", "variance", "length scale", "noise")
    return table(
        header,
        [
            (name, c.kernel, f"{c.variance:.4g}", f"{c.length_scale:.4g}", f"{c.noise:.4g}")
            for name, c in (("resolution", curves.resolution), ("depth", curves.depth))
        ],
        numbers=5,
    )


def left_out_document(row: LeftOut) -> dict[str, Any]:
    """A predicted point for machines."""
    solution = row.solution
    return {
        "name": row.point.name,
        "macs": row.point.macs,
        "cost": row.point.cost,
        "measured": dataclasses.asdict(row.point.twist),
        "resolution": dataclasses.asdict(solution.resolution),
        "depth": dataclasses.asdict(solution.depth),
        "solved": dataclasses.asdict(solution.twist),
        "relative_error": solution.relative_error,
    }


def format_left_out(rows: Iterable[LeftOut]) -> str:
    """Predicted points for people."""
    header = ("left out", "r", "predicted", "d", "predicted", "w", "solved")
    return table(
        header,
        [
            (
                row.point.name,
                f"{row.point.twist.resolution:g}",
                str(row.solution.resolution),
                f"{row.point.twist.depth:g}",
                str(row.solution.depth),
                f"{row.point.twist.width:g}",
                f"{row.solution.twist.width:g}",
            )
            for row in rows
        ],
        numbers=6,
    )


def law_document(point: Point) -> dict[str, Any]:
    """A point's cost and width, as counted and as the law has them, for machines."""
    return {
        "name": point.name,
        "macs": point.macs,
        "cost": point.cost,
        "law": law(point.twist),
        "width": point.twist.width,
        "width_by_law": width_by_law(point.twist, point.cost),
    }


def format_law(points: Sequence[Point]) -> str:
    """The same for people."""
    header = ("point", "MACs", "of the base", "law", "off", "w", "law's w", "off")
    return table(
        header,
        [
            (
                row["name"],
                f"{row['macs']:,}",
                f"{row['cost']:.3f}",
                f"{row['law']:.3f}",
                f"{row['law'] / row['cost'] - 1:+.0%}",
                f"{row['width']:g}",
                f"{row['width_by_law']:.3f}",
                f"{row['width_by_law'] / row['width'] - 1:+.0%}",
            )
            for row in map(law_document, points)
        ],
        numbers=7,
    )
