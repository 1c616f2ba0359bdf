"""The parts that sections of the page are made of: facts, tables and their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from parity.report.formatting import bound, distance, multiple, number
from parity.report.markup import element
from parity.results import Comparison


def section(title: str, *children: Element, _class: str = "") -> Element:
    """A part of the page under a heading."""
    return element("section", element("h2", title), *children, _class=_class)


def remark(text: str) -> Element:
    """What helps to read what follows."""
    return element("p", text, _class="muted")


def command(text: str) -> Element:
    """A command line."""
    return element("code", text, _class="command")


def facts(named: Mapping[str, str | Element]) -> Element:
    """Names with what there is to say under each."""
    pairs = (
        element("div", element("dt", name), element("dd", value)) for name, value in named.items()
    )
    return element("dl", *pairs)


def table(heads: Sequence[str], rows: Sequence[Element], _class: str = "") -> Element:
    """A table that scrolls where the page is narrower than it."""
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    made = element("table", element("thead", head), element("tbody", *rows), _class=_class)
    # Reachable by keyboard, since it scrolls.
    label = ", ".join(heads)
    return element("div", made, _class="scroll", tabindex=0, role="region", aria_label=label)


def status_cell(status: str) -> Element:
    """The outcome of what a row is about: "ok", "FAIL" or "skipped"."""
    outcome = {"ok": "passed", "FAIL": "failed"}.get(status, "muted")
    return element("td", element("span", status, _class=f"status {outcome}"))


def number_cell(value: str, detail: str = "", failed: bool = False) -> Element:
    """A number, and below it what it amounts to."""
    style = "number failed" if failed else "number"
    return element("td", value, element("small", detail), _class=style)


def error_cell(item: Comparison) -> Element:
    """How far off a comparison is."""
    value = distance(item).partition(" (")[0]
    return number_cell(value, multiple(item.error, item.noise), not item.passed)


def bound_cell(item: Comparison) -> Element:
    """How far off a comparison may be."""
    return number_cell(number(item.bound), multiple(item.bound, item.noise))


def failure_cells(item: Comparison) -> list[Element]:
    """What was found, beside what would have passed."""
    return [number_cell(distance(item), failed=not item.passed), number_cell(bound(item))]
