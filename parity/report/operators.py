"""What the page says of operators: the stored audits of the frameworks that a report is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

from tinynet.backend import FRAMEWORKS
from tinynet.utils.environment import NOT_INSTALLED

from parity.audit.compare import UNIT
from parity.audit.page import formula_table, operator_table
from parity.audit.results import DIRECTORY, Audit, Row, load_audit
from parity.report.drawing import readable, shade_key
from parity.report.formatting import number
from parity.report.markup import command, element, remark, row_head, section

# Units of rounding at which another shade begins, and its number in the page's palette.
_SHADES = {0.0: 0, 1.0: 1, 4.0: 2, 16.0: 4, 64.0: 5}
_DIRECTIONS = ("forward", "backward")


def operators(environment: Mapping[str, str], folder: Path = DIRECTORY) -> Iterator[Element]:
    """Makes a section with the audits in a folder of the frameworks in a report's environment.

    Raises:
        DocumentError: a file in the folder is not an audit.
    """
    audits = [load_audit(path) for path in sorted(folder.glob("*.json"))]
    versions = [(name, version) for name in FRAMEWORKS for version in _versions(environment, name)]
    known = [audit for audit in audits if (audit.framework, audit.version) in versions]
    audited = {(audit.framework, audit.version) for audit in known}
    shown = _audits(known) if known else []
    for name, version in versions:
        if (name, version) not in audited:
            text = f"No audit of {FRAMEWORKS[name]} {version} is stored. It is made by "
            made_by = command(f"tinynet parity audit --framework {name}")
            shown.append(element("p", text, made_by))
    if versions:
        yield section("Operators", *shown)


def _versions(environment: Mapping[str, str], framework: str) -> list[str]:
    # Of two machines there may be two.
    found = environment.get(framework, NOT_INSTALLED).split(" | ")
    return [version.partition("+")[0] for version in found if version != NOT_INSTALLED]


def _audits(audits: Sequence[Audit]) -> list[Element]:
    intro = (
        f"Each operator against its definition in float64, over many sizes: the largest error, in "
        f"{UNIT}. Measured once for a version of a framework on a device, not in this run."
    )
    titles = [element("summary", f"All of {audit.title}") for audit in audits]
    tables = zip(titles, map(operator_table, audits), strict=True)
    return [
        remark(intro),
        _overview(audits),
        element("h3", "Formulas of the optimizers"),
        *formula_table(audits),
        *(element("details", *parts) for parts in tables),
    ]


def _overview(audits: Sequence[Audit]) -> Element:
    columns = [(audit, direction) for audit in audits for direction in _DIRECTIONS]
    # A gradient is named after its variable: dx, dweight.
    found = {
        (row.operator, audit.title, _DIRECTIONS[row.quantity.startswith("d")]): row
        for audit in audits
        for row in sorted(audit.rows, key=lambda row: row.largest)
    }
    worst = max(found.values(), key=lambda row: row.largest)
    rows: list[Element] = []
    for operator in dict.fromkeys(row.operator for audit in audits for row in audit.rows):
        cells = (_cell(found.get((operator, a.title, way)), a, worst) for a, way in columns)
        rows.append(element("tr", row_head(operator), *cells))
    corner = element("th", "operator", scope="col", rowspan=2)
    titles = [element("th", audit.title, scope="colgroup", colspan=2) for audit in audits]
    directions = [element("th", direction, scope="col") for _, direction in columns]
    head = element("thead", element("tr", corner, *titles), element("tr", *directions))
    cells = element("table", head, element("tbody", *rows), _class="heat numbers")
    return readable(_legend(), cells)


def _cell(row: Row | None, audit: Audit, worst: Row) -> Element:
    if row is None:
        return element("td")
    text = f"{row.operator}\n{audit.title}\n{row.quantity}: {number(row.largest)} at {row.where}"
    shade = max(shade for least, shade in _SHADES.items() if row.largest >= least)
    chosen = " chosen" if row is worst else ""
    return element("td", number(row.largest), _class=f"spot h{shade}{chosen}", title=text)


def _legend() -> list[Element]:
    edges = list(_SHADES)
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)] + [f"from {edges[-1]:g}"]
    shades = zip(_SHADES.values(), names, strict=True)
    return [shade_key(f"h{shade}", name) for shade, name in shades]
