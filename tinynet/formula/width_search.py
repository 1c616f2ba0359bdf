"""Counts that grow in steps: which settings come nearest to a budget."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import cache


@dataclasses.dataclass(frozen=True, slots=True)
class Plateau:
    """Settings from ``first`` to ``last`` that all make a net of ``macs`` multiply-accumulates."""

    macs: int
    first: int
    last: int

    @property
    def middle(self) -> int:
        """The setting furthest from both ends."""
        return (self.first + self.last) // 2


def around(settings: range, macs: Callable[[int], int], budget: int, what: str) -> list[Plateau]:
    """Finds the plateaus on both sides of a budget.

    Args:
        settings: all there are, ascending.
        macs: what a setting counts to, never less for a larger setting.
        budget: multiply-accumulates for one image.
        what: is being set, for errors.

    Returns:
        The last plateau at or below the budget and the first above it. About 40 settings are
        counted, by bisection.

    Raises:
        ValueError: the budget is outside of what the settings reach.
    """
    macs = cache(macs)
    least, most = macs(settings[0]), macs(settings[-1])
    if not least <= budget < most:
        raise ValueError(
            f"the budget is {budget:,} macs, expected one from {least:,} to {most - 1:,}, "
            f"the reach of {what}"
        )
    above = bisect_right(settings, budget, key=macs)
    return [_plateau(settings, macs, above - 1), _plateau(settings, macs, above)]


def nearest(plateaus: list[Plateau], budget: int) -> Plateau:
    """Returns the plateau that comes nearest to a budget; of two equally near, the cheaper."""
    return min(plateaus, key=lambda plateau: (abs(plateau.macs - budget), plateau.macs))


def _plateau(settings: range, macs: Callable[[int], int], index: int) -> Plateau:
    count = macs(settings[index])
    first = bisect_left(settings, count, key=macs)
    last = bisect_right(settings, count, key=macs) - 1
    return Plateau(count, settings[first], settings[last])
