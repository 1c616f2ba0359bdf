"""What chance does to nets with kinks, and how a rung tells it from a fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import wraps

from parity.context import Bench
from parity.results import Evidence, Series
from parity.tolerances.calibration import LEAST_FACTOR

# So many batches are looked at before what a net with kinks did counts as wrong.
KINK_BATCHES = 3

Climb = Callable[[Bench], Iterator[Evidence | Series]]


def past_kinks(climb: Climb) -> Climb:
    """Climbs a rung on other batches too, where a net with kinks is far off.

    An activation that rounds to the other side of a kink is chance, and a fault is not. It changes
    gradients at once, and a run of training from there on. So where the noise does not explain a
    comparison, what is nearest to the judge on any of some batches counts.

    Args:
        climb: the rung.
    """

    @wraps(climb)
    def climbed(bench: Bench) -> Iterator[Evidence | Series]:
        items = list(climb(bench))
        yield from (item for item in items if isinstance(item, Series))
        found = _evidence(items)
        for batch in range(1, KINK_BATCHES if bench.kinked else 1):
            if all(item.error <= LEAST_FACTOR * item.noise for item in found if item.noise):
                break
            other = _evidence(climb(bench.on_another_batch(batch)))
            again = {(e.subject, e.where): e for e in other}
            # What has no noise is compared bit by bit, and chance has no part in it.
            found = [
                min(e, again[e.subject, e.where], key=_distance) if e.noise else e for e in found
            ]
        yield from found

    return climbed


def _evidence(items: Iterable[Evidence | Series]) -> list[Evidence]:
    return [item for item in items if isinstance(item, Evidence)]


def _distance(item: Evidence) -> float:
    return item.error / item.noise if item.noise else math.inf
