"""Which nets a search trains: twists drawn at random at a fixed cost, and their trainings."""

from __future__ import annotations

import dataclasses

from tinynet.formula.tiny import Solution, solve_width
from tinynet.search.plan import Plan, SearchError
from tinynet.utils.random_numbers import uniform

# So many draws without a net of the cost mean that the ranges do not reach it.
_DRAWS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """One training of a search: a sampled net and the seed that it is trained with."""

    index: int
    seed: int
    cost: float
    solution: Solution

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.index:05d}-{self.seed}"


def sample(plan: Plan, index: int) -> Training:
    """Samples the net of a number, the same on every machine, with the first seed of training.

    Budgets take turns. Resolution and depth are drawn evenly in their logarithms, and width is
    solved for the budget. A net is drawn again if it misses the budget by more than the tolerance
    or its width is out of range.

    Args:
        plan: the search.
        index: from 0.

    Raises:
        SearchError: 200 draws did not meet the budget.
    """
    cost = plan.costs[index % len(plan.costs)]
    budget = plan.budget(cost)
    name = f"{plan.base.name}-{plan.seed}-{index}"
    for draw in range(_DRAWS):
        numbers = uniform((2,), "search", plan.seed, index, draw).tolist()
        resolution, depth = (
            round(low * (high / low) ** number, 4)
            for (low, high), number in zip((plan.resolution, plan.depth), numbers, strict=True)
        )
        try:
            solution = solve_width(plan.base, resolution, depth, budget, name)
        except ValueError:
            continue
        lowest, highest = plan.width
        met = solution.relative_error <= plan.tolerance
        if met and lowest <= solution.twist.width <= highest:
            return Training(index, plan.seed, cost, solution)
    ranges = (f"{low:g} to {high:g}" for low, high in (plan.resolution, plan.depth, plan.width))
    raise SearchError(
        f"{plan.base.name}: of {_DRAWS} twists none has {budget:,} macs ({cost:g} of the base's) "
        f"within {plan.tolerance:.1%}, with "
        "resolution {}, depth {} and width {}; ".format(*ranges)
        + "expected a cost and ranges that fit each other"
    )


def trainings(plan: Plan, models: int, seeds: int) -> list[Training]:
    """Lists the trainings of a search: every net with the first seed, then with the next.

    Args:
        plan: the search.
        models: how many nets.
        seeds: how often each is trained.

    Raises:
        SearchError: a budget that the ranges do not reach.
    """
    sampled = [sample(plan, index) for index in range(models)]
    return [
        dataclasses.replace(model, seed=plan.seed + number)
        for number in range(seeds)
        for model in sampled
    ]
