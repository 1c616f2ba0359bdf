"""The spread of a check: how many of its comparisons came how near to their bounds."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from parity.report.drawing import canvas
from parity.report.markup import element
from parity.results import CheckResult, Comparison

# From a thousandth of the bound to a thousand times it, in halves of a decade; what is outside
# goes to the ends.
_DECADES, _BINS_PER_DECADE = 3, 2
_BINS = 2 * _DECADES * _BINS_PER_DECADE
_WIDTH, _HEIGHT = 9, 26


def spread(check: CheckResult) -> Element:
    """Draws a bar for each range of shares of the bound; right of the line is what failed."""
    counts = [0] * _BINS
    for item in check.comparisons:
        counts[_bin(item)] += 1
    most = math.log1p(max(counts))
    drawing = canvas(_BINS * _WIDTH, _HEIGHT)
    drawing.set("role", "img")
    failed = len(check.failures)
    text = f"{len(check.comparisons) - failed:,} within their bounds, {failed:,} beyond"
    drawing.set("aria-label", text)
    drawing.append(element("title", text))
    for index, count in enumerate(counts):
        if count:
            # Logarithmic, so that a single one is seen beside thousands.
            height = max(_HEIGHT * math.log1p(count) / most, 3.0)
            style = "fill" if index < _BINS // 2 else "fill failed"
            x, y = index * _WIDTH + 1, _HEIGHT - height
            drawing.append(element("rect", _class=style, x=x, y=y, width=_WIDTH - 2, height=height))
    middle = _BINS * _WIDTH // 2
    drawing.append(element("line", _class="limit", x1=middle, x2=middle, y1=0, y2=_HEIGHT))
    return element("span", drawing, _class="spread")


def _bin(item: Comparison) -> int:
    half = _BINS // 2
    if item.severity == 0:
        return 0
    if not math.isfinite(item.severity):
        return _BINS - 1
    index = math.floor(math.log10(item.severity) * _BINS_PER_DECADE) + half
    if item.passed:
        return min(max(index, 0), half - 1)
    return min(max(index, half), _BINS - 1)
