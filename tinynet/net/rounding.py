"""The rounding rules of the EfficientNet family. Nothing else in the project rounds a size."""

from __future__ import annotations


def round_channels(channels: int, width: float, divisor: int = 8) -> int:
    """Scales a channel count and rounds it to a multiple of ``divisor``.

    Args:
        channels: the base network's channel count, positive.
        width: the multiplier, positive.
        divisor: the grid, 8 throughout the family.

    Returns:
        The nearest multiple of ``divisor``, at least ``divisor``, and never more than 10 % below
        ``channels * width`` (one step is added where rounding down would lose more).

    Source: Tan and Le, EfficientNet (arXiv 1905.11946), reference code, ``round_filters``.
    """
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * scaled:
        rounded += divisor
    return rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Scales a stage's number of blocks: the nearest integer (halves to even), at least 1.

    EfficientNet itself rounds up; TinyNets round to nearest.

    Source: Han et al., TinyNets (arXiv 2010.14819), released model code.
    """
    return max(1, round(repeats * depth))


def round_resolution(pixels: int, resolution: float) -> int:
    """Scales an input side in pixels, truncating to an integer, at least 1.

    Source: released TinyNets: 224 * (0.86, 0.84, 0.825, 0.68, 0.475) is 192, 188, 184, 152, 106.
    """
    return max(1, int(pixels * resolution))
