"""What a search found, for machines and for people."""

from __future__ import annotations

import csv
import dataclasses
import io
from itertools import groupby
from typing import Any

from tinynet.net.complexity import count
from tinynet.search.analysis import MULTIPLIERS, Found
from tinynet.search.plan import Plan
from tinynet.spec import Twist
from tinynet.utils.tables import table

_DIVERGED = "diverged, and left out of all that follows\n"


def format_table(found: Found) -> str:
    """Returns the models as text with commas between (CSV): cheapest budget and best model first.

    A model that diverged comes after the others of its budget, without an accuracy.
    """
    front = {point.name for point in found.front}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    counts, marks = ("macs", "params"), ("front", "name", "accuracies", "diverged")
    writer.writerow(("cost", "accuracy", *MULTIPLIERS, *counts, *marks))
    best_first = sorted(found.models, key=lambda m: (m.cost, -m.accuracy, m.index))
    for m in sorted((*best_first, *found.diverged), key=lambda m: m.cost):
        reached = "" if m.diverged else f"{m.accuracy:.3f}"
        accuracies = " ".join(f"{accuracy:.3f}" for accuracy in m.accuracies)
        marks = ("yes" if m.name in front else "no", m.name, accuracies, m.diverged)
        writer.writerow((f"{m.cost:g}", reached, *_multipliers(m.twist), m.macs, m.params, *marks))
    return text.getvalue()


def found_document(plan: Plan, found: Found) -> dict[str, Any]:
    """Returns all that was found, as JSON has it."""
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
    """Returns the same in tables, for people."""
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
    rows: list[tuple[str, ...]] = []
    for m in found.diverged:
        trained = f"{m.diverged} of {m.diverged + len(m.accuracies)}"
        rows.append((f"{m.cost:g}", trained, *_multipliers(m.twist), m.name))
    return table(header, rows, numbers=6)


def _correlations(found: Found) -> str:
    rows: list[tuple[str, ...]] = []
    for cost, same in groupby(found.correlations, lambda row: row.cost):
        found_here = list(same)
        cells = ("-" if r.rho is None else f"{r.rho:+.2f} ({r.p:.4f})" for r in found_here)
        rows.append((f"{cost:g}", f"{found_here[0].models}", *cells))
    return table(("cost", "models", "resolution", "depth", "width"), rows, numbers=5)


def _spreads(found: Found) -> str:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    header = ("cost", "seeds of one net", "nets of a cost")
    rows = [(f"{s.cost:g}", shown(s.seeds), shown(s.models)) for s in found.spreads]
    return table(header, rows, numbers=3)


def _front(found: Found) -> str:
    header = ("macs", "accuracy", "resolution", "depth", "width", "name")
    rows = [
        (f"{p.macs:,}", f"{p.accuracy:.2f}", *_multipliers(p.twist), p.name) for p in found.front
    ]
    return table(header, rows, numbers=6)


def _chosen(found: Found) -> str:
    rows: list[tuple[str, ...]] = []
    for s in found.chosen:
        multipliers = str(s.resolution), str(s.depth), f"{s.twist.width:g}"
        rows.append((f"{s.budget:,}", f"{count(s.spec).macs:,}", *multipliers))
    return table(("budget", "macs", "resolution", "depth", "width"), rows, numbers=5)


def _multipliers(twist: Twist) -> tuple[str, ...]:
    return tuple(f"{value:g}" for value in dataclasses.astuple(twist))
