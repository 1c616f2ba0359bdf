"""Compound scaling, its inverse on the exact counter, and the law of costs that it assumes.

The TinyNets paper calls compound scaling the giant formula, as does the option ``--giant``.
"""

from __future__ import annotations

import math

from tinynet.formula.width_search import around, nearest
from tinynet.net.twist import count_twist
from tinynet.spec import Spec, Twist

# Source: Tan and Le, EfficientNet (arXiv 1905.11946), section 3.3: found for B0 by a grid search.
DEPTH, WIDTH, RESOLUTION = 1.2, 1.1, 1.15

# From B0 at 55 pixels to beyond B7.
SMALLEST, LARGEST = -10, 10


def compound_twist(phi: float) -> Twist:
    """Returns EfficientNet's compound scaling: one exponent for resolution, depth and width.

    Args:
        phi: 0 is the base, above 0 is larger, below 0 smaller; from -10 to 10.

    Returns:
        The multipliers, to four decimals.

    Raises:
        ValueError: an exponent out of range.

    Source: Tan and Le, EfficientNet (arXiv 1905.11946), equation 3. How they become blocks,
    channels and pixels is :func:`tinynet.net.twist.derive`'s rule, the TinyNets': depth rounds to
    nearest, where EfficientNet rounds up; stem and head stay, where EfficientNet scales them.
    """
    if not SMALLEST <= phi <= LARGEST:
        raise ValueError(f"phi is {phi:g}, expected a number from {SMALLEST} to {LARGEST}")
    return Twist(round(RESOLUTION**phi, 4), round(DEPTH**phi, 4), round(WIDTH**phi, 4))


def solve_phi(base: Spec, budget: int) -> float:
    """Finds the exponent whose net comes nearest to a budget, counted exactly.

    Args:
        base: the spec to scale.
        budget: multiply-accumulates for one image.

    Returns:
        The middle of the exponents that make that net, to three decimals.

    Raises:
        ValueError: the budget is outside of what exponents from -10 to 10 reach.
    """

    def macs(thousandths: int) -> int:
        return count_twist(base, compound_twist(thousandths / 1000)).macs

    thousandths = range(1000 * SMALLEST, 1000 * LARGEST + 1)
    what = f"{base.name} with phi from {SMALLEST} to {LARGEST}"
    return nearest(around(thousandths, macs, budget, what), budget).middle / 1000


def law(twist: Twist) -> float:
    """Returns the cost ratio by the law that scaling papers use, depth * width**2 * resolution**2.

    Wrong for this family, whose stem and head do not scale: see docs/formula.md.

    Source: Tan and Le, EfficientNet (arXiv 1905.11946), section 3.3.
    """
    return twist.depth * twist.width**2 * twist.resolution**2


def width_by_law(twist: Twist, cost: float) -> float:
    """Returns the width that the law gives for a cost ratio at a twist's resolution and depth."""
    return math.sqrt(cost / (twist.depth * twist.resolution**2))
