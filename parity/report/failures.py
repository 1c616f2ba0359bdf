"""What the page says of failures: where to look first, all of them, and what a gate lets pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from parity.known_differences import KnownDifference
from parity.report.formatting import (
    SCRIPT,
    SHOWN_FAILURES,
    bound,
    distance,
    first_divergence,
    rerun,
    smallest_bound,
)
from parity.report.markup import (
    command,
    element,
    facts,
    number_cell,
    remark,
    row_head,
    section,
    table,
)
from parity.results import CheckResult, Comparison, Report

_CODE = ("Source", "Place")  # facts of the first divergence that are names in code


def failures(report: Report) -> Iterator[Element]:
    """Makes a section for where to look first, if anything failed."""
    first = first_divergence(report)
    if first is None:
        return
    codes = {name: element("code", first[1][name]) for name in _CODE if name in first[1]}
    parts = [facts(first[1] | codes)]
    if report.divergence:
        script = element("code", report.divergence.script)
        parts = [
            element("p", report.divergence.explanation),
            *parts,
            element("h3", "The difference alone: ", element("code", SCRIPT)),
            remark("The file lies beside this page. A click selects all of it here."),
            element("pre", script, _class="source", tabindex=0, aria_label=SCRIPT),
        ]
    yield section("Look here first", *parts, _class="alarm")


def failed_checks(report: Report, known: Sequence[KnownDifference]) -> Iterator[Element]:
    """Makes a section for all checks that failed, if any did, the first of them unfolded."""
    failed = [check for check in report.checks if not check.passed]
    if failed:
        folded = [_failed_check(report, check, known) for check in failed]
        folded[0].set("open", "open")
        yield section("Failures", *folded)


def _failed_check(report: Report, check: CheckResult, known: Sequence[KnownDifference]) -> Element:
    found, shown = check.failures, check.failures[:SHOWN_FAILURES]
    again = element("p", "Again: ", command(rerun(report, check)))
    name = element("strong", check.name)
    if not found:
        return element("details", element("summary", name, ": nothing compared"), again)
    count = f": {len(found):,} of {len(check.comparisons):,} comparisons"
    heads = ("Place", "Compared", "Kind", "Error = smallest bound that passes", "Bound")
    rows = [_row(item, excuses(report, check, item, known)) for item in shown]
    outcome = f"Smallest bound that passes all: {smallest_bound(found)}."
    more = len(found) - len(shown)
    return element(
        "details",
        element("summary", name, count),
        element("p", f"{check.title}; {check.unit}. {outcome}"),
        table(heads, rows),
        *([remark(f"And {more:,} more, in parity.json.")] if more else ()),
        again,
    )


def _row(item: Comparison, excused: Iterator[Element]) -> Element:
    about = row_head(element("code", item.where)), element("td", item.candidate)
    kind = element("td", item.kind, element("small", item.note), *excused, _class="kind")
    error = number_cell(distance(item), failed=not item.passed)
    return element("tr", *about, kind, error, number_cell(bound(item)))


def excuses(
    report: Report, check: CheckResult, item: Comparison | None, known: Sequence[KnownDifference]
) -> Iterator[Element]:
    """Tells the known differences for which a gate lets a failure pass, or a check not run."""
    what = report.spec, check.name
    for difference in known:
        if item is None:
            excused = difference.is_about_check(*what)
        else:
            excused = difference.is_about(*what, item) and difference.excuses(item)
        if excused:
            link = element("a", difference.id, href=difference.link)
            yield element("small", "known difference ", link, f": {difference.reason}")


def outlook(report: Report, known: Sequence[KnownDifference]) -> Iterator[Element]:
    """Says that a gate lets all failures of a report pass, if it does."""
    found = [(check, item) for check in report.checks for item in check.failures]
    if found and all(any(excuses(report, check, item, known)) for check, item in found):
        yield remark("All that failed are known differences, which a gate lets pass.")
