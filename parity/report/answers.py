"""What the page says of a whole net: its numbers, and what it says of photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from xml.etree.ElementTree import Element

from parity.report.check_plot import is_for_a_drawing, measured
from parity.report.formatting import distance, number
from parity.report.markup import (
    bound_cell,
    element,
    error_cell,
    number_cell,
    remark,
    row_head,
    section,
    status_cell,
    table,
)
from parity.results import CheckResult, Comparison

_SAYS = "says "  # how the check metrics notes a class


def whole_net(checks: Sequence[CheckResult]) -> Iterator[Element]:
    """Makes a section for the few numbers of the whole net: logits, losses, exported files."""
    rows = [
        element(
            "tr",
            status_cell("ok" if item.passed else "FAIL"),
            row_head(check.name),
            element("td", item.candidate, element("small", item.where)),
            error_cell(item),
            number_cell(number(item.noise)),
            bound_cell(item),
        )
        for check in checks
        if not is_for_a_drawing(check)
        for item in measured(check)
    ]
    if rows:
        heads = ("Outcome", "Check", "Compared", "Error", "Noise", "Bound")
        yield section("The whole net", table(heads, rows))


def photographs(checks: Sequence[CheckResult]) -> Iterator[Element]:
    """Makes a section for what each runtime says of photographs, and how that is counted."""
    comparisons = [
        item for check in checks if check.name == "metrics" for item in check.comparisons
    ]
    classes = [item for item in comparisons if item.note.startswith(_SAYS)]
    runtimes = {item.candidate for item in classes}
    scores = [
        item
        for item in comparisons
        if item.candidate in runtimes and item.noise == 0 and item not in classes
    ]
    if not classes:
        return
    yield section(
        "Photographs",
        remark(
            "What each runtime says of real photographs. Only agreement counts here: weights made "
            "from a seed know no classes."
        ),
        _grid("Photograph", classes, lambda item: item.note.removeprefix(_SAYS)),
        *([_grid("Score", scores, _score)] if scores else []),
    )


def _score(item: Comparison) -> str:
    return item.note or ("as expected" if item.passed else distance(item))


def _grid(head: str, items: Sequence[Comparison], word: Callable[[Comparison], str]) -> Element:
    found = {(item.where, item.candidate): item for item in items}
    candidates = list(dict.fromkeys(item.candidate for item in items))
    rows = [
        element("tr", row_head(where), *(_answer(found.get((where, c)), word) for c in candidates))
        for where in dict.fromkeys(item.where for item in items)
    ]
    return table((head, *candidates), rows)


def _answer(item: Comparison | None, word: Callable[[Comparison], str]) -> Element:
    if item is None:
        return element("td", "no answer", _class="muted")
    return element("td", word(item), _class="" if item.passed else "failed")
