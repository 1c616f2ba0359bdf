"""The heat map of gradients: blocks down, tensors across, colour for the share of the bound."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from xml.etree.ElementTree import Element

from parity.report.check_plot import describe, first_to_show, measured
from parity.report.drawing import readable, shade_key
from parity.report.formatting import share
from parity.report.markup import element, row_head
from parity.results import CheckResult, Comparison

# Shares of the bound at which another shade begins: even steps on a logarithmic scale.
_SHADES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
_INPUT = "input"


def heat_map(checks: Sequence[CheckResult]) -> Element:
    """Draws checks of gradients as one table, for each candidate side by side.

    Each holds something against rounding noise, by a tensor's key or a layer's name and "input".
    """
    measures = {check.name: measured(check) for check in checks}
    candidates = dict.fromkeys(item.candidate for items in measures.values() for item in items)
    panels = {
        (candidate, name): _cells([item for item in items if item.candidate == candidate])
        for candidate in candidates
        for name, items in measures.items()
    }
    tensors: dict[str, dict[str, None]] = {}
    for cells in panels.values():
        for row, tensor in cells:
            tensors.setdefault(row, {})[tensor] = None
    # The block with the most tensors gives their order, the others what it has not.
    fullest = sorted(tensors.values(), key=len, reverse=True)
    columns = list(dict.fromkeys(tensor for row in fullest for tensor in row))
    chosen = first_to_show([item for cells in panels.values() for item in cells.values()])

    head = [element("th", "layer", scope="col", rowspan=2)]
    leaves: list[Element] = []
    rows = {row: element("tr", row_head(row)) for row in tensors}
    for (candidate, name), cells in panels.items():
        over, small = {"colspan": len(columns)}, element("small", name)
        head.append(element("th", candidate, small, scope="colgroup", _class="edge", **over))
        for tensor in columns:
            edge = " edge" if tensor == columns[0] else ""
            leaves.append(element("th", element("span", tensor), scope="col", _class=edge))
            for row, drawn in rows.items():
                drawn.append(_shaded(cells.get((row, tensor)), name, chosen, edge))
    heads, body = element("thead", element("tr", *head), element("tr", *leaves)), rows.values()
    table = element("table", heads, element("tbody", *body), _class="heat")
    return readable(_legend(), table)


def _cells(items: Sequence[Comparison]) -> dict[tuple[str, str], Comparison]:
    """Row and column -> what was found, from the input on: the other way than gradients flow."""
    cells: dict[tuple[str, str], Comparison] = {}
    forward = items[::-1]
    for item, following in zip(forward, (*forward[1:], None), strict=True):
        # The net's own input is that of its first layer.
        named = following if item.where == _INPUT and following else item
        row, tensor = _cell(named.where)
        cells[row, tensor if named is item else _INPUT] = item
    return cells


def _cell(where: str) -> tuple[str, str]:
    if where.endswith(f" {_INPUT}"):
        return where.removesuffix(f" {_INPUT}"), _INPUT
    # A block is named by the parts before its layer's: "blocks.1.0", "layer1.0".
    match = re.match(r"blocks\.\d+\.\d+|layer\d+\.\d+|[^.]*", where)
    row = match[0] if match else where
    return row, where.removeprefix(row).removeprefix(".")


def _shaded(item: Comparison | None, check: str, chosen: Comparison, edge: str) -> Element:
    if item is None:
        return element("td", _class=edge)
    text = "\n".join(filter(None, (describe([item]), check, share(item))))
    number = sum(item.severity >= least for least in _SHADES) - 1
    shade, sign = (f"h{number}", "") if item.passed else ("over", "!")
    now = " chosen" if item is chosen else ""
    return element("td", sign, _class=f"spot {shade}{now}{edge}", title=text)


def _legend() -> list[Element]:
    names = [f"{low:.0%} to {high:.0%}" for low, high in pairwise((*_SHADES[1:], 1.0))]
    names.insert(0, f"below {_SHADES[1]:.0%}")
    keys = [shade_key(f"h{shade}", name) for shade, name in enumerate(names)]
    beyond = shade_key("over", "beyond: fails", "!")
    return [element("li", "Error, of its bound:"), *keys, beyond]
