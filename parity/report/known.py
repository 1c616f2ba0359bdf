"""What the page says of known differences: failures that a gate lets pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from parity.known_differences import KnownDifference
from parity.report.markup import element
from parity.report.parts import remark
from parity.results import CheckResult, Comparison, Report


def excuses(
    report: Report, check: CheckResult, item: Comparison, known: Sequence[KnownDifference]
) -> Iterator[Element]:
    """The known differences for which a gate lets a failure pass."""
    for difference in known:
        if difference.is_about(report.spec, check.name, item) and difference.excuses(item):
            yield element("small", "known difference ", *_words(difference))


def excuses_for_skipping(
    report: Report, check: CheckResult, known: Sequence[KnownDifference]
) -> Iterator[Element]:
    """The known differences for which a gate lets pass that a check is not run."""
    for difference in known:
        if difference.is_about_check(report.spec, check.name):
            yield element("small", "known difference ", *_words(difference))


def outlook(report: Report, known: Sequence[KnownDifference]) -> Iterator[Element]:
    """That a gate lets all failures of a report pass, if it does."""
    failures = [(check, item) for check in report.checks for item in check.failures]
    if failures and all(any(excuses(report, check, item, known)) for check, item in failures):
        yield remark("All that failed are known differences, which a gate lets pass.")


def _words(difference: KnownDifference) -> tuple[Element, str]:
    return element("a", difference.id, href=difference.link), f": {difference.reason}"
