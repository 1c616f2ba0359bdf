"""What a search found: its models, their noise, ranks at fixed cost, front, curves and choice.

All of it follows from the results, in the order of the models, so that neither the order of
training nor interruptions change it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import groupby
from statistics import mean, stdev
from typing import Any, cast

from tinynet.formula.frontier import Frontier, Point, non_dominated, point
from tinynet.formula.regression import MINIMUM_POINTS
from tinynet.formula.tiny import Curves, TinySolution, fit, tiny_formula
from tinynet.net.twist import count_twist
from tinynet.search.plan import BASE, Plan, SearchError
from tinynet.search.results import Result
from tinynet.spec import Twist

MULTIPLIERS = ("resolution", "depth", "width")


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A sampled net and how its trainings ended.

    Attributes:
        index: its number.
        name: its spec's.
        twist: what made it.
        cost: of the budget, as a share of the base's macs.
        macs: multiply-accumulates for one image, exactly.
        params: number of parameters.
        accuracies: of the trainings that did not diverge, by seed, in percent.
        diverged: how many trainings did.
    """

    index: int
    name: str
    twist: Twist
    cost: float
    macs: int
    params: int
    accuracies: tuple[float, ...]
    diverged: int

    @property
    def accuracy(self) -> float:
        """The mean over the seeds, of a net of which no training diverged."""
        return mean(self.accuracies)


@dataclasses.dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation of accuracy with a multiplier, among the models of a budget.

    ``rho`` and ``p`` (two-sided) are None where there are fewer than three models, or all are
    alike.
    """

    cost: float
    multiplier: str
    models: int
    rho: float | None
    p: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """How far accuracies lie apart, as standard deviations in points of top-1.

    Attributes:
        cost: of the budget.
        seeds: between the seeds of one net, over all nets of the budget; None with one seed.
        models: between the nets of the budget, each with its mean; None with one net.
    """

    cost: float
    seeds: float | None
    models: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """All that a search found.

    Attributes:
        models: those of which no training diverged, by number. All that follows is theirs.
        diverged: the others, by number.
        frontier: the same as a frontier, for the tiny formula.
        front: the points that no other beats, by macs.
        spreads: for each budget.
        correlations: for each budget and multiplier.
        curves: fitted to the front; None with fewer than three points there.
        chosen: what the tiny formula makes of each budget; empty without curves.
    """

    models: tuple[Model, ...]
    diverged: tuple[Model, ...]
    frontier: Frontier
    front: tuple[Point, ...]
    spreads: tuple[Spread, ...]
    correlations: tuple[Correlation, ...]
    curves: Curves | None
    chosen: tuple[TinySolution, ...]


def collect(plan: Plan, results: Sequence[Result]) -> Found:
    """Collects what a search has found so far.

    A net has no accuracy if one of its trainings diverged: the mean of the others would flatter it.

    Args:
        plan: the search.
        results: from :func:`tinynet.search.results.load_results`.

    Raises:
        SearchError: there are none, or a result is of another net than its twist makes.
    """
    if not results:
        raise SearchError("the search has no results yet, expected at least one trained model")
    trained = [_model(list(same)) for _, same in groupby(results, lambda result: result.index)]
    for model in trained:
        counted = count_twist(plan.base, model.twist).macs
        if model.macs != counted:
            raise SearchError(
                f"{model.name}: macs is {model.macs}, expected {counted}, what its twist of "
                f"{plan.base.name} counts to"
            )
    models = [model for model in trained if not model.diverged]
    points = [
        point(plan.base, m.twist, m.accuracy, m.name, f"mean of seeds: {len(m.accuracies)}")
        for m in models
    ]
    front = non_dominated(points)[0] if points else []
    source = f"a search with seed {plan.seed}, recipe {plan.recipe.name}, in {plan.framework}"
    curves = fit(front) if len(front) >= MINIMUM_POINTS else None
    by_cost = {cost: [m for m in models if m.cost == cost] for cost in sorted(set(plan.costs))}
    return Found(
        tuple(models),
        tuple(model for model in trained if model.diverged),
        Frontier(plan.base, BASE, tuple(points), source),
        tuple(front),
        tuple(_spread(cost, same) for cost, same in by_cost.items()),
        tuple(_correlation(cost, n, same) for cost, same in by_cost.items() for n in MULTIPLIERS),
        curves,
        tuple(_choose(plan, curves, cost) for cost in by_cost) if curves else (),
    )


def _model(results: Sequence[Result]) -> Model:
    first = results[0]
    accuracies = tuple(r.accuracy for r in results if r.accuracy is not None)
    shared = (first.index, first.name, first.twist, first.cost, first.macs, first.params)
    return Model(*shared, accuracies, diverged=len(results) - len(accuracies))


def _spread(cost: float, models: Sequence[Model]) -> Spread:
    repeated = [m for m in models if len(m.accuracies) > 1]
    squares = sum((a - m.accuracy) ** 2 for m in repeated for a in m.accuracies)
    freedom = sum(len(m.accuracies) - 1 for m in repeated)
    return Spread(
        cost,
        math.sqrt(squares / freedom) if freedom else None,
        stdev(m.accuracy for m in models) if len(models) > 1 else None,
    )


def _correlation(cost: float, multiplier: str, models: Sequence[Model]) -> Correlation:
    values = [float(getattr(m.twist, multiplier)) for m in models]
    accuracies = [m.accuracy for m in models]
    if len(models) < 3 or len(set(values)) == 1 or len(set(accuracies)) == 1:
        return Correlation(cost, multiplier, len(models), None, None)
    # Imported here: it takes longer than everything else that reads a search.
    import scipy.stats  # pyright: ignore[reportMissingTypeStubs]

    found: Any = cast(Any, scipy.stats).spearmanr(values, accuracies)
    return Correlation(cost, multiplier, len(models), float(found.statistic), float(found.pvalue))


def _choose(plan: Plan, curves: Curves, cost: float) -> TinySolution:
    return tiny_formula(plan.base, curves, plan.budget(cost), f"{plan.base.name}-tiny-{cost:g}")
