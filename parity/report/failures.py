"""What the page says of failures: where to look first, and all of them check by check."""

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
from parity.results import CheckResult, Comparison, Divergence, Report


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
        "Found from": f"the check {divergence.check}",
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


def _first(check: CheckResult, item: Comparison) -> Element:
    named = {
        "Place": element("code", item.where),
        "Compared": item.candidate or "nothing, the check broke off",
        "Check": f"{check.name}: {check.title}",
        "Kind": item.kind,
        "Error": f"{distance(item)}, {check.unit}",
        "Bound": bound(item),
        "Would pass at": smallest_bound([item]),
    }
    if item.note:
        named["Note"] = item.note
    return section("Look here first", facts(named), _class="alarm")


def failed_checks(report: Report, known: Sequence[KnownDifference]) -> Iterator[Element]:
    """A section for all checks that failed, if any did, the first of them unfolded."""
    failed = [check for check in report.checks if not check.passed]
    if failed:
        folded = [_failed_check(report, check, known) for check in failed]
        folded[0].set("open", "open")
        yield section("Failures", *folded)


def _failed_check(report: Report, check: CheckResult, known: Sequence[KnownDifference]) -> Element:
    found = check.failures
    count = (
        f"{len(found):,} of {len(check.comparisons):,} comparisons" if found else "nothing compared"
    )
    heading = element("summary", element("strong", check.name), f": {count}")
    again = element("p", "Again: ", command(rerun(report, check)))
    if not found:
        return element("details", heading, again)
    heads = ("Place", "Compared", "Kind", "Error = smallest bound that passes", "Bound")
    rows = [
        element(
            "tr",
            element("th", element("code", item.where), scope="row"),
            element("td", item.candidate),
            element(
                "td",
                item.kind,
                element("small", item.note),
                *excuses(report, check, item, known),
                _class="kind",
            ),
            *failure_cells(item),
        )
        for item in found[:SHOWN_FAILURES]
    ]
    summary = (
        f"{check.title}; {check.unit}. Smallest bound that passes all: {smallest_bound(found)}."
    )
    more = len(found) - len(rows)
    rest = [remark(f"And {more:,} more, in parity.json.")] if more else []
    return element("details", heading, element("p", summary), table(heads, rows), *rest, again)
