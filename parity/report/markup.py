"""What HTML pages are made of: elements (ElementTree escapes what they hold), cells, the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from xml.etree.ElementTree import Element, tostring

from parity.report.formatting import distance, multiple, number
from parity.results import Comparison


def element(tag: str, *children: Element | str, _class: str = "", **attributes: object) -> Element:
    """Makes an element of children in the order given; underscores in attributes are hyphens."""
    made = Element(tag)
    if _class:
        made.set("class", _class)
    for name, value in attributes.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        made.set(name.replace("_", "-"), text)
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def serialise(elements: Sequence[Element]) -> str:
    """Writes the elements as HTML."""
    return "\n".join(tostring(item, encoding="unicode", method="html") for item in elements)


def render(title: str, elements: Sequence[Element]) -> str:
    """Writes a whole page, which needs nothing beside it."""
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=escape(title), body=serialise(elements))


def section(title: str, *children: Element, _class: str = "") -> Element:
    """Makes a part of the page under a heading."""
    return element("section", element("h2", title), *children, _class=_class)


def remark(text: str) -> Element:
    """Makes a paragraph that helps to read what follows."""
    return element("p", text, _class="muted")


def command(text: str) -> Element:
    """Shows a command line."""
    return element("code", text, _class="command")


def facts(named: Mapping[str, str | Element]) -> Element:
    """Lists names with what there is to say under each."""
    pairs = ((element("dt", name), element("dd", value)) for name, value in named.items())
    return element("dl", *(element("div", *pair) for pair in pairs))


def table(heads: Sequence[str], rows: Sequence[Element], _class: str = "") -> Element:
    """Makes a table that scrolls where the page is narrower than it."""
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    made = element("table", element("thead", head), element("tbody", *rows), _class=_class)
    # Reachable by keyboard, since it scrolls.
    label = ", ".join(heads)
    return element("div", made, _class="scroll", tabindex=0, role="region", aria_label=label)


def row_head(*children: Element | str) -> Element:
    """Makes the cell that says what a row is about."""
    return element("th", *children, scope="row")


def status_cell(status: str) -> Element:
    """Makes the cell for an outcome: "ok", "FAIL" or "skipped"."""
    outcome = {"ok": "passed", "FAIL": "failed"}.get(status, "muted")
    return element("td", element("span", status, _class=f"status {outcome}"))


def number_cell(value: str, detail: str = "", failed: bool = False) -> Element:
    """Makes a cell with a number, and below it what it amounts to."""
    style = "number failed" if failed else "number"
    return element("td", value, element("small", detail), _class=style)


def error_cell(item: Comparison) -> Element:
    """Makes the cell that says how far off a comparison is."""
    value = distance(item).partition(" (")[0]
    return number_cell(value, multiple(item.error, item.noise), not item.passed)


def bound_cell(item: Comparison) -> Element:
    """Makes the cell that says how far off a comparison may be."""
    return number_cell(number(item.bound), multiple(item.bound, item.noise))
