"""Measured members of a family, and which of them no other beats: what the tiny formula fits."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tinynet.net.complexity import count
from tinynet.net.twist import count_twist
from tinynet.spec import Spec, Twist, list_specs, load_spec
from tinynet.utils.strict_json import (
    DocumentError,
    check_document,
    list_documents,
    parse_document,
    read_document,
)

FRONTIER_DIRECTORY = Path(__file__).parents[1] / "frontiers"


class FrontierError(DocumentError):
    """A file of points that is malformed or contradicts its base. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One trained member: what it costs and what it reached.

    Attributes:
        name: the member's.
        twist: what made it from the base.
        macs: multiply-accumulates for one image, exactly.
        cost: macs as a share of the base's.
        accuracy: top-1 in percent.
        source: where the accuracy comes from.
    """

    name: str
    twist: Twist
    macs: int
    cost: float
    accuracy: float
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class Frontier:
    """Points that were measured alike, and the base that all of them twist.

    ``base_name`` is how a file calls the base: a shipped spec's name, or a path.
    """

    base: Spec
    base_name: str
    points: tuple[Point, ...]
    source: str = ""


def point(base: Spec, twist: Twist, accuracy: float, name: str, source: str = "") -> Point:
    """A point with its cost counted.

    Args:
        base: the spec that was twisted.
        twist: how.
        accuracy: top-1 in percent, 0 to 100.
        name: the member's.
        source: where the accuracy comes from.
    """
    macs = count_twist(base, twist).macs
    return Point(name, twist, macs, macs / count(base).macs, accuracy, source)


def non_dominated(points: Sequence[Point]) -> list[list[Point]]:
    """Sorts points into fronts, by accuracy (more is better) and macs (fewer is better).

    A point dominates another when it is no worse in both and better in one. The first front is
    dominated by nobody, the next one only by the first, and so on. In a front points stand in the
    order of their macs.

    Source: Deb et al., NSGA-II (IEEE Trans. Evol. Comput. 6, 2002), section III-A.
    """
    fronts: list[list[Point]] = []
    remaining = sorted(points, key=lambda p: (p.macs, -p.accuracy))
    while remaining:
        front = [p for p in remaining if not any(_dominates(other, p) for other in remaining)]
        remaining = [p for p in remaining if p not in front]
        fronts.append(front)
    return fronts


def load_frontier(name_or_path: str | os.PathLike[str]) -> Frontier:
    """Loads points that are shipped, by name ("released"), or any by the path of their JSON file.

    Raises:
        FrontierError: no such file, one that does not fit ``tinynet/frontiers/
            frontier.schema.json``, or a point whose macs are not those of its twist.
        tinynet.spec.SpecError: the base is no valid spec.
    """
    source = os.fspath(name_or_path)
    try:
        text = read_document(name_or_path, FRONTIER_DIRECTORY, "frontier")
        document = parse_document(text, source)
        # As for specs: a test holds what is shipped against the schema, whose checker is slow.
        if source not in list_documents(FRONTIER_DIRECTORY):
            check_document(document, _schema(), source)
    except DocumentError as error:
        raise FrontierError(str(error)) from None
    base_name = document["base"]
    shipped = base_name in list_specs()
    base = load_spec(base_name if shipped else Path(source).parent / base_name)
    points: list[Point] = []
    for index, row in enumerate(document["points"]):
        twist = Twist(**{key: float(value) for key, value in row["twist"].items()})
        found = point(base, twist, float(row["accuracy"]), row["name"], row["source"])
        if found.macs != row["macs"]:
            raise FrontierError(
                f"{source}: points[{index}].macs is {row['macs']}, expected {found.macs}, what "
                f"its twist of {base_name} counts to"
            )
        points.append(found)
    return Frontier(base, base_name, tuple(points), document["source"])


def format_frontier(frontier: Frontier) -> str:
    """The points as JSON text for people, one line each: the inverse of :func:`load_frontier`."""
    rows = (
        json.dumps(
            {
                "name": p.name,
                "twist": dataclasses.asdict(p.twist),
                "macs": p.macs,
                "accuracy": p.accuracy,
                "source": p.source,
            }
        )
        for p in frontier.points
    )
    head = {
        "$schema": "frontier.schema.json",
        "frontier_version": 1,
        "base": frontier.base_name,
        "source": frontier.source,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines.append('  "points": [\n' + ",\n".join(f"    {row}" for row in rows) + "\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dominates(one: Point, other: Point) -> bool:
    no_worse = one.macs <= other.macs and one.accuracy >= other.accuracy
    return no_worse and (one.macs, one.accuracy) != (other.macs, other.accuracy)


@cache
def _schema() -> dict[str, Any]:
    return json.loads((FRONTIER_DIRECTORY / "frontier.schema.json").read_text(encoding="utf-8"))
