"""What the page says of failures: where to look first, and all of them rung by rung."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from parity.known_differences import KnownDifference
from parity.report.formatting import (
    SCRIPT,
    SHOWN_FAILURES,
    address,
    bound,
    computed,
    distance,
    rerun,
    smallest_bound,
    traced,
)
from parity.report.known import excuses
from parity.report.markup import element
from parity.report.parts import command, facts, failure_cells, remark, section, table
from parity.results import Divergence, Evidence, Report, Rung


def failures(report: Report) -> Iterator[Element]:
    """A section for where to look first, if anything failed."""
    if report.divergence:
        yield _traced(report.divergence)
    elif report.first_divergence:
        yield _first(*report.first_divergence)


def _traced(divergence: Divergence) -> Element:
    item = traced(divergence)
    named = {
        "Source": element("code", address(divergence)),
        "Place": element("code", divergence.where),
        "Computed there": computed(divergence),
        "Off": divergence.framework or "not known which",
        "Error": distance(item),
        "Bound": bound(item),
        "Would pass at": smallest_bound([item]),
        "Found from": f"the rung {divergence.rung}",
    }
    script = element("pre", element("code", divergence.script), _class="source", tabindex=0)
    script.set("aria-label", SCRIPT)
    return section(
        "Look here first",
        element("p", divergence.explanation),
        facts(named),
        element("h3", "The difference alone: ", element("code", SCRIPT)),
        remark("The file lies beside this page. A click selects all of it here."),
        script,
        _class="alarm",
    )


def _first(rung: Rung, item: Evidence) -> Element:
    named = {
        "Place": element("code", item.where),
        "Compared": item.subject or "nothing, the rung broke off",
        "Rung": f"{rung.name}: {rung.title}",
        "Kind": item.kind,
        "Error": f"{distance(item)}, {rung.unit}",
        "Bound": bound(item),
        "Would pass at": smallest_bound([item]),
    }
    if item.note:
        named["Note"] = item.note
    return section("Look here first", facts(named), _class="alarm")


def failed_rungs(report: Report, known: Sequence[KnownDifference]) -> Iterator[Element]:
    """A section for all rungs that failed, if any did, the first of them unfolded."""
    failed = [rung for rung in report.rungs if not rung.passed]
    if failed:
        folded = [_failed_rung(report, rung, known) for rung in failed]
        folded[0].set("open", "open")
        yield section("Failures", *folded)


def _failed_rung(report: Report, rung: Rung, known: Sequence[KnownDifference]) -> Element:
    found = rung.failures
    count = f"{len(found):,} of {len(rung.evidence):,} comparisons" if found else "nothing compared"
    heading = element("summary", element("strong", rung.name), f": {count}")
    again = element("p", "Again: ", command(rerun(report, rung)))
    if not found:
        return element("details", heading, again)
    heads = ("Place", "Compared", "Kind", "Error = smallest bound that passes", "Bound")
    rows = [
        element(
            "tr",
            element("th", element("code", item.where), scope="row"),
            element("td", item.subject),
            element(
                "td",
                item.kind,
                element("small", item.note),
                *excuses(report, rung, item, known),
                _class="kind",
            ),
            *failure_cells(item),
        )
        for item in found[:SHOWN_FAILURES]
    ]
    summary = f"{rung.title}; {rung.unit}. Smallest bound that passes all: {smallest_bound(found)}."
    more = len(found) - len(rows)
    rest = [remark(f"And {more:,} more, in parity.json.")] if more else []
    return element("details", heading, element("p", summary), table(heads, rows), *rest, again)
