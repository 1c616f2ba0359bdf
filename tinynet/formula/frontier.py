"""Measured members of a family, and the best among them: what the tiny formula is fitted to."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from tinynet.net.complexity import count
from tinynet.net.twist import count_twist
from tinynet.spec import Spec, Twist, list_specs, load_spec
from tinynet.utils.dataclass_json import from_document, to_document
from tinynet.utils.strict_json import (
    DocumentError,
    check_document,
    format_document,
    list_documents,
    load_schema,
    parse_document,
    raised_as,
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
    """Returns a point with its cost counted.

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

    A point dominates another if it is at least as good in both and better in one. No point
    dominates the first front, only the first front dominates the next one, and so on. The points of
    a front are in the order of their macs.

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
        tinynet.spec.SpecError: the base is not a valid spec.
    """
    source = os.fspath(name_or_path)
    with raised_as(FrontierError):
        text = read_document(name_or_path, FRONTIER_DIRECTORY, "frontier")
        document = parse_document(text, source)
        # As for specs: a test holds what is shipped against the schema, whose checker is slow.
        if source not in list_documents(FRONTIER_DIRECTORY):
            schema = load_schema(FRONTIER_DIRECTORY / "frontier.schema.json")
            check_document(document, schema, source)
    base_name = document["base"]
    shipped = base_name in list_specs()
    base = load_spec(base_name if shipped else Path(source).parent / base_name)
    points: list[Point] = []
    for index, row in enumerate(document["points"]):
        twist = from_document(Twist, row["twist"])
        found = point(base, twist, float(row["accuracy"]), row["name"], row["source"])
        if found.macs != row["macs"]:
            raise FrontierError(
                f"{source}: points[{index}].macs is {row['macs']}, expected {found.macs}, what "
                f"its twist of {base_name} counts to"
            )
        points.append(found)
    return Frontier(base, base_name, tuple(points), document["source"])


def format_frontier(frontier: Frontier) -> str:
    """Returns the points as JSON text for people: the inverse of :func:`load_frontier`."""
    keys = ("name", "twist", "macs", "accuracy", "source")
    points = [to_document(one) for one in frontier.points]
    document = {
        "$schema": "frontier.schema.json",
        "frontier_version": 1,
        "base": frontier.base_name,
        "source": frontier.source,
        "points": [{key: one[key] for key in keys} for one in points],
    }
    return format_document(document, rows="points")


def _dominates(one: Point, other: Point) -> bool:
    no_worse = one.macs <= other.macs and one.accuracy >= other.accuracy
    return no_worse and (one.macs, one.accuracy) != (other.macs, other.accuracy)
