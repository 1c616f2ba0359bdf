"""What the page says of a whole net: its numbers, and what it says of photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from xml.etree.ElementTree import Element

from parity.report.formatting import distance, number
from parity.report.markup import element
from parity.report.noise import is_for_a_drawing, measured
from parity.report.parts import (
    bound_cell,
    error_cell,
    number_cell,
    remark,
    section,
    status_cell,
    table,
)
from parity.results import Evidence, Rung

_SAYS = "says "  # how the rung metrics notes a class


def whole_net(rungs: Sequence[Rung]) -> Iterator[Element]:
    """A section for the few numbers of the whole net: logits, losses, exported files."""
    rows = [
        element(
            "tr",
            status_cell("ok" if item.passed else "FAIL"),
            element("th", rung.name, scope="row"),
            element("td", f"{item.subject}", element("small", item.where)),
            error_cell(item),
            number_cell(number(item.noise)),
            bound_cell(item),
        )
        for rung in rungs
        if not is_for_a_drawing(rung)
        for item in measured(rung)
    ]
    if rows:
        heads = ("Outcome", "Rung", "Compared", "Error", "Noise", "Bound")
        yield section("The whole net", table(heads, rows))


def photographs(rungs: Sequence[Rung]) -> Iterator[Element]:
    """A section for what each runtime says of photographs, and how that is counted."""
    evidence = [item for rung in rungs if rung.name == "metrics" for item in rung.evidence]
    classes = [item for item in evidence if item.note.startswith(_SAYS)]
    runtimes = {item.subject for item in classes}
    scores = [
        item
        for item in evidence
        if item.subject in runtimes and item.noise == 0 and item not in classes
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


def _score(item: Evidence) -> str:
    return item.note or ("as expected" if item.passed else distance(item))


def _grid(head: str, items: Sequence[Evidence], word: Callable[[Evidence], str]) -> Element:
    found = {(item.where, item.subject): item for item in items}
    subjects = list(dict.fromkeys(item.subject for item in items))
    rows = [
        element(
            "tr",
            element("th", where, scope="row"),
            *(_answer(found.get((where, subject)), word) for subject in subjects),
        )
        for where in dict.fromkeys(item.where for item in items)
    ]
    return table((head, *subjects), rows)


def _answer(item: Evidence | None, word: Callable[[Evidence], str]) -> Element:
    if item is None:
        return element("td", "no answer", _class="muted")
    return element("td", word(item), _class="" if item.passed else "failed")
