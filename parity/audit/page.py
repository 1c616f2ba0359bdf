"""Two audits side by side as one HTML page that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from tinynet.utils.atomic_files import write_text_atomically

from parity.audit.compare import UNIT, Pair, pair_rows, place, ratio_text
from parity.audit.results import Audit, Row
from parity.report.drawing import LogScale, candidate_keys, canvas, mark
from parity.report.formatting import number
from parity.report.markup import (
    command,
    element,
    facts,
    number_cell,
    remark,
    render,
    row_head,
    section,
    table,
)

# Of the table of one audit.
HEADS = ("Operator", "Result", "Largest error", "Median", "Arrays", "Largest at")

_WIDTH, _HEIGHT = 180, 16


def operator_rows(audit: Audit) -> list[Element]:
    """Returns the rows of one audit as rows of a table, with cells under :data:`HEADS`."""
    return [
        element(
            "tr",
            row_head(row.operator),
            element("td", element("code", row.quantity)),
            number_cell(number(row.largest)),
            number_cell(number(row.median)),
            number_cell(str(row.arrays)),
            element("td", row.where, _class="muted"),
        )
        for row in audit.rows
    ]


def operator_table(audit: Audit) -> Element:
    """Renders one audit as a table."""
    return table(HEADS, operator_rows(audit))


def formula_table(audits: Sequence[Audit]) -> list[Element]:
    """Says which formula each optimizer follows in each audit, and why that matters."""
    intro = (
        "Which formula every number of tensors of all lengths follows. A kernel that has one for "
        "whole blocks and another for what is left over trains two nets in one."
    )
    names = dict.fromkeys(name for audit in audits for name in audit.patterns)
    found = {name: [str(audit.patterns.get(name, "")) for audit in audits] for name in names}
    rows = [
        element("tr", row_head(name), *(element("td", text) for text in texts))
        for name, texts in found.items()
    ]
    return [remark(intro), table(("Optimizer", *(audit.title for audit in audits)), rows)]


def write_comparison(first: Audit, second: Audit, folder: Path) -> Path:
    """Writes ``operators.html`` and says where; ratios are relative to the first audit.

    The folder is created if it does not exist.

    Raises:
        DocumentError: the file cannot be placed there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "operators.html"
    write_text_atomically(page, render_comparison(first, second))
    return page


def render_comparison(first: Audit, second: Audit) -> str:
    """Returns the whole page."""
    title = f"Operators: {second.title} against {first.title}"
    sections = [
        element("header", element("h1", title), element("p", f"Errors are in {UNIT}.")),
        section("Formulas of the optimizers", *formula_table([first, second])),
        _operators(first, second),
        *(_origin(audit) for audit in (first, second)),
    ]
    return render(title, sections)


def _operators(first: Audit, second: Audit) -> Element:
    pairs = pair_rows(first, second)
    sizes = [row.largest for pair in pairs for row in (pair.first, pair.second) if row]
    finite = [size for size in sizes if 0 < size < math.inf]
    scale = LogScale(min(finite, default=0.1), max(finite, default=1.0), 0.0, _WIDTH - 8)
    intro = (
        "The largest error of each result, those first whose two errors are farthest apart. The "
        f"scale goes from {scale.decades[0]:g} to {scale.decades[-1]:g} units; its lines are "
        "powers of ten."
    )
    heads = ("Result, and the larger error's place", first.title, second.title, "Ratio", "")
    rows = [
        element(
            "tr",
            row_head(
                f"{pair.operator}: ", element("code", pair.quantity), element("small", place(pair))
            ),
            _error_cell(pair.first),
            _error_cell(pair.second),
            number_cell(ratio_text(pair)),
            element("td", _drawing(pair, scale)),
        )
        for pair in pairs
    ]
    keys = element("ul", *candidate_keys([first.title, second.title]), _class="legend")
    return section("Operators", remark(intro), keys, table(heads, rows))


def _drawing(pair: Pair, scale: LogScale) -> Element:
    drawing = canvas(_WIDTH, _HEIGHT)
    right = _WIDTH - 4
    for value in scale.decades:
        x = right - scale(value)
        drawing.append(element("line", _class="grid", x1=x, x2=x, y1=0, y2=_HEIGHT))
    drawing.extend(
        mark(index, right - scale(row.largest), _HEIGHT / 2, finite=math.isfinite(row.largest))
        for index, row in enumerate((pair.first, pair.second))
        if row is not None
    )
    return drawing


def _error_cell(row: Row | None) -> Element:
    if row is None:
        return element("td", "not audited", _class="muted")
    return number_cell(number(row.largest), f"median {number(row.median)}")


def _origin(audit: Audit) -> Element:
    named: dict[str, str | Element] = {
        "Machine": audit.machine,
        "Measured on": audit.measured_on,
        "Sizes": _range(audit.sizes),
        "Operators": f"{len({row.operator for row in audit.rows})}",
        "Again": command(audit.command),
    }
    return section(audit.title, facts(named))


def _range(sizes: Sequence[int]) -> str:
    whole = tuple(range(sizes[0], sizes[-1] + 1))
    return f"{sizes[0]} to {sizes[-1]}" if tuple(sizes) == whole else ", ".join(map(str, sizes))
