"""What the page says of known differences: failures that a gate lets pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from parity.known_differences import KnownDifference
from parity.report.markup import element
from parity.report.parts import remark
from parity.results import Evidence, Report, Rung


def excuses(
    report: Report, rung: Rung, item: Evidence, known: Sequence[KnownDifference]
) -> Iterator[Element]:
    """The known differences for which a gate lets a failure pass."""
    for difference in known:
        if difference.is_about(report.spec, rung.name, item) and difference.excuses(item):
            yield element("small", "known difference ", *_words(difference))


def excuses_for_skipping(
    report: Report, rung: Rung, known: Sequence[KnownDifference]
) -> Iterator[Element]:
    """The known differences for which a gate lets pass that a rung is not climbed."""
    for difference in known:
        if difference.is_about_rung(report.spec, rung.name):
            yield element("small", "known difference ", *_words(difference))


def outlook(report: Report, known: Sequence[KnownDifference]) -> Iterator[Element]:
    """That a gate lets all failures of a report pass, if it does."""
    failures = [(rung, item) for rung in report.rungs for item in rung.failures]
    if failures and all(any(excuses(report, rung, item, known)) for rung, item in failures):
        yield remark("All that failed are known differences, which a gate lets pass.")


def _words(difference: KnownDifference) -> tuple[Element, str]:
    return element("a", difference.id, href=difference.link), f": {difference.reason}"
