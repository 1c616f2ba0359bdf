"""What chance does to nets with kinks, and how a check tells it from a fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import wraps

from parity.context import Context
from parity.results import Comparison, Series
from parity.tolerances.calibration import LEAST_FACTOR

# So many batches are looked at before what a net with kinks did counts as wrong.
KINK_BATCHES = 3

Run = Callable[[Context], Iterator[Comparison | Series]]


def past_kinks(check: Run) -> Run:
    """Climbs a check on other batches too, where a net with kinks is far off.

    An activation that rounds to the other side of a kink is chance, and a fault is not. It changes
    gradients at once, and a run of training from there on. So where the noise does not explain a
    comparison, what is nearest to the reference on any of some batches counts.

    Args:
        check: the function of the check.
    """

    @wraps(check)
    def wrapped(context: Context) -> Iterator[Comparison | Series]:
        items = list(check(context))
        yield from (item for item in items if isinstance(item, Series))
        found = _comparison(items)
        for batch in range(1, KINK_BATCHES if context.non_smooth else 1):
            if all(item.error <= LEAST_FACTOR * item.noise for item in found if item.noise):
                break
            other = _comparison(check(context.on_another_batch(batch)))
            again = {(e.candidate, e.where): e for e in other}
            # What has no noise is compared bit by bit, and chance has no part in it.
            found = [
                min(e, again[e.candidate, e.where], key=_distance) if e.noise else e for e in found
            ]
        yield from found

    return wrapped


def _comparison(items: Iterable[Comparison | Series]) -> list[Comparison]:
    return [item for item in items if isinstance(item, Comparison)]


def _distance(item: Comparison) -> float:
    return item.error / item.noise if item.noise else math.inf
