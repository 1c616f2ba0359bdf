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
    """Returns the hyper-parameters of fitted curves as a table."""
    rows = [
        (name, c.kernel, f"{c.variance:.4g}", f"{c.length_scale:.4g}", f"{c.noise:.4g}")
        for name, c in (("resolution", curves.resolution), ("depth", curves.depth))
    ]
    return table(("curve", "kernel", "variance", "length scale", "noise"), rows, numbers=5)


def left_out_document(row: LeftOut) -> dict[str, Any]:
    """Returns a predicted point as JSON has it."""
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


def format_left_out(left_out: Iterable[LeftOut]) -> str:
    """Returns predicted points as a table."""
    rows: list[tuple[str, ...]] = []
    for one in left_out:
        measured, found = one.point.twist, one.solution
        resolution = (f"{measured.resolution:g}", str(found.resolution))
        depth = (f"{measured.depth:g}", str(found.depth))
        width = (f"{measured.width:g}", f"{found.twist.width:g}")
        rows.append((one.point.name, *resolution, *depth, *width))
    header = ("left out", "r", "predicted", "d", "predicted", "w", "solved")
    return table(header, rows, numbers=6)


def law_document(point: Point) -> dict[str, Any]:
    """Returns a point's cost and width, as counted and by the law, as JSON has them."""
    return {
        "name": point.name,
        "macs": point.macs,
        "cost": point.cost,
        "law": law(point.twist),
        "width": point.twist.width,
        "width_by_law": width_by_law(point.twist, point.cost),
    }


def format_law(points: Sequence[Point]) -> str:
    """Returns the same of many points as a table."""
    rows: list[tuple[str, ...]] = []
    for row in map(law_document, points):
        cost, by_law, width, law_width = (
            row[key] for key in ("cost", "law", "width", "width_by_law")
        )
        costs = (f"{cost:.3f}", f"{by_law:.3f}", f"{by_law / cost - 1:+.0%}")
        widths = (f"{width:g}", f"{law_width:.3f}", f"{law_width / width - 1:+.0%}")
        rows.append((row["name"], f"{row['macs']:,}", *costs, *widths))
    header = ("point", "MACs", "of the base", "law", "off", "w", "law's w", "off")
    return table(header, rows, numbers=7)
