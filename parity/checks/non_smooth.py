"""What chance does to nets that are not smooth, and how a check tells it from a fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from parity.context import Context
from parity.results import Comparison, Series
from parity.tolerances.calibration import LEAST_FACTOR

# So many batches are looked at before what a net that is not smooth did counts as wrong.
BATCHES = 3

Compare = Callable[[Context], Iterator[Comparison | Series]]


def over_batches(compare: Compare) -> Compare:
    """Compares on other batches too, where a net that is not smooth is far off.

    An activation that rounds to the other side of a kink is chance, and a fault is not. It changes
    gradients at once, and a run of training from there on. So where the noise does not explain a
    comparison, the nearest to the reference on any of some batches counts.
    """

    def wrapped(context: Context) -> Iterator[Comparison | Series]:
        items = list(compare(context))
        yield from (item for item in items if isinstance(item, Series))
        found = _comparisons(items)
        for batch in range(1, BATCHES if context.non_smooth else 1):
            if all(item.error <= LEAST_FACTOR * item.noise for item in found if item.noise):
                break
            other = _comparisons(compare(context.on_another_batch(batch)))
            again = {(item.candidate, item.where): item for item in other}
            # What has no noise is compared bit by bit, and chance has no part in it.
            found = [
                min(item, again[item.candidate, item.where], key=_distance) if item.noise else item
                for item in found
            ]
        yield from found

    return wrapped


def _comparisons(items: Iterable[Comparison | Series]) -> list[Comparison]:
    return [item for item in items if isinstance(item, Comparison)]


def _distance(item: Comparison) -> float:
    return item.error / item.noise if item.noise else math.inf
