"""Numbers for the axes of drawings."""

from __future__ import annotations

import math


def round_numbers(low: float, high: float, most: int) -> list[float]:
    """Returns round numbers from ``low`` to ``high``, evenly apart, at most ``most + 1``."""
    least = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(least))
    size = next(unit * times for times in (1, 2, 5, 10) if unit * times >= least)
    return [n * size for n in range(math.ceil(low / size), math.floor(high / size) + 1)]
