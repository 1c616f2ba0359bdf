"""What a search found, for machines and for people."""

from __future__ import annotations

import dataclasses
from typing import Any

from tinynet.net.complexity import count
from tinynet.search.plan import Plan
from tinynet.search.results import Found
from tinynet.utils.tables import table

_DIVERGED = "diverged, and left out of all that follows\n"


def found_document(plan: Plan, found: Found) -> dict[str, Any]:
    """All that was found, as JSON has it."""
    curves = found.curves
    return {
        "base": plan.base.name,
        "models": len(found.models) + len(found.diverged),
        "trainings": _trainings(found),
        "diverged": [dataclasses.asdict(model) for model in found.diverged],
        "front": [dataclasses.asdict(point) for point in found.front],
        "spreads": [dataclasses.asdict(spread) for spread in found.spreads],
        "correlations": [dataclasses.asdict(row) for row in found.correlations],
        "curves": curves and dataclasses.asdict(curves),
        "chosen": [
            {
                "name": s.spec.name,
                "budget": s.budget,
                "macs": count(s.spec).macs,
                "twist": dataclasses.asdict(s.twist),
                "resolution": dataclasses.asdict(s.resolution),
                "depth": dataclasses.asdict(s.depth),
            }
            for s in found.chosen
        ],
    }


def format_found(plan: Plan, found: Found) -> str:
    """The same in tables."""
    models = len(found.models) + len(found.diverged)
    parts = [
        f"{models} twists of {plan.base.name}, {_trainings(found)} trainings",
        *([_DIVERGED + _diverged(found)] if found.diverged else []),
        "Spearman's rank correlation with accuracy at fixed cost (p, two-sided)\n"
        + _correlations(found),
        "standard deviations of top-1, in points\n" + _spreads(found),
        "first front\n" + _front(found),
    ]
    if found.chosen:
        parts.append("chosen by the tiny formula on this front\n" + _chosen(found))
    else:
        parts.append("no curves: fewer than three points on the first front")
    return "\n\n".join(parts)


def _trainings(found: Found) -> int:
    return sum(len(m.accuracies) + m.diverged for m in (*found.models, *found.diverged))


def _diverged(found: Found) -> str:
    header = ("cost", "trainings", "resolution", "depth", "width", "name")
    return table(
        header,
        [
            (
                f"{m.cost:g}",
                f"{m.diverged} of {m.diverged + len(m.accuracies)}",
                *(f"{value:g}" for value in dataclasses.astuple(m.twist)),
                m.name,
            )
            for m in found.diverged
        ],
        numbers=6,
    )


def _correlations(found: Found) -> str:
    by_cost: dict[float, list[str]] = {}
    models: dict[float, int] = {}
    for row in found.correlations:
        text = "-" if row.rho is None else f"{row.rho:+.2f} ({row.p:.4f})"
        by_cost.setdefault(row.cost, []).append(text)
        models[row.cost] = row.models
    header = ("cost", "models", "resolution", "depth", "width")
    rows = [(f"{cost:g}", f"{models[cost]}", *cells) for cost, cells in by_cost.items()]
    return table(header, rows, numbers=5)


def _spreads(found: Found) -> str:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    header = ("cost", "seeds of one net", "nets of a cost")
    rows = [(f"{s.cost:g}", shown(s.seeds), shown(s.models)) for s in found.spreads]
    return table(header, rows, numbers=3)


def _front(found: Found) -> str:
    header = ("macs", "accuracy", "resolution", "depth", "width", "name")
    return table(
        header,
        [
            (
                f"{p.macs:,}",
                f"{p.accuracy:.2f}",
                *(f"{value:g}" for value in dataclasses.astuple(p.twist)),
                p.name,
            )
            for p in found.front
        ],
        numbers=6,
    )


def _chosen(found: Found) -> str:
    header = ("budget", "macs", "resolution", "depth", "width")
    return table(
        header,
        [
            (
                f"{s.budget:,}",
                f"{count(s.spec).macs:,}",
                str(s.resolution),
                str(s.depth),
                f"{s.twist.width:g}",
            )
            for s in found.chosen
        ],
        numbers=5,
    )
