"""JUnit XML, the format in which CI systems take the results of tests."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from tinynet.utils.atomic_files import write_text_atomically

from parity.report.formatting import SHOWN_FAILURES, bound, distance, place, rerun, smallest_bound
from parity.results import CheckResult, Comparison, Report

# What XML 1.0 cannot hold, not even escaped: an exception's message may have terminal colours.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A test; ``message`` says in a line why it failed or was skipped, ``text`` says the rest."""

    name: str
    seconds: float
    outcome: Literal["passed", "failed", "skipped"] = "passed"
    message: str = ""
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Suite:
    """Tests that belong together, and what their outcome may depend on."""

    name: str
    cases: Sequence[Case]
    properties: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])


def report_suite(report: Report, cases: Sequence[Case] | None = None) -> Suite:
    """Makes a suite of a report: each check a test, or other tests in place of them."""
    if cases is None:
        cases = [_check_case(report, check) for check in report.checks]
    properties = {"weights": report.weights, "command": report.command, **report.environment}
    return Suite(report.spec, cases, properties)


def failure_case(
    report: Report, check: CheckResult, failures: Sequence[Comparison], note: str = ""
) -> Case:
    """Makes a test of a check that failed, or compared nothing; ``note`` is more to say of it."""
    message, lines = "nothing was compared", list[str]()
    if failures:
        first = failures[0]
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        message = f"{place(first)}: {distance(first)}, bound {bound(first)}{more}"
        lines = [f"{check.title}; in {check.unit}", *map(_failure_line, failures[:SHOWN_FAILURES])]
        if len(failures) > SHOWN_FAILURES:
            lines.append(f"and {len(failures) - SHOWN_FAILURES} more")
    text = "\n".join(filter(None, (*lines, note, f"again: {rerun(report, check)}")))
    return Case(check.name, check.seconds, "failed", message, text)


def write_junit(path: str | os.PathLike[str], suites: Sequence[Suite]) -> None:
    """Writes suites as JUnit XML.

    Raises:
        DocumentError: the file cannot be placed there.
    """
    cases = [case for suite in suites for case in suite.cases]
    root = Element("testsuites", {"name": "parity", **_totals(cases)})
    root.extend(_suite_element(suite) for suite in suites)
    ElementTree.indent(root)
    text = _NOT_XML.sub("?", ElementTree.tostring(root, encoding="unicode"))
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
    write_text_atomically(path, text)


def _check_case(report: Report, check: CheckResult) -> Case:
    if not check.passed:
        return failure_case(report, check, check.failures)
    outcome = "skipped" if check.skipped else "passed"
    return Case(check.name, check.seconds, outcome, check.skipped)


def _failure_line(item: Comparison) -> str:
    line = f"{place(item)}: {item.kind}, error {distance(item)}, bound {bound(item)}, would pass at"
    return f"{line} {smallest_bound([item])}" + (f" ({item.note})" if item.note else "")


def _suite_element(suite: Suite) -> Element:
    made = Element("testsuite", {"name": suite.name, **_totals(suite.cases)})
    properties = SubElement(made, "properties")
    for name, value in suite.properties.items():
        SubElement(properties, "property", name=name, value=value)
    for case in suite.cases:
        what = {"classname": f"parity.{suite.name}", "name": case.name}
        test = SubElement(made, "testcase", what, time=f"{case.seconds:.3f}")
        if case.outcome == "failed":
            SubElement(test, "failure", message=case.message, type="parity").text = case.text
        elif case.outcome == "skipped":
            SubElement(test, "skipped", message=case.message)
    return made


def _totals(cases: Sequence[Case]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    return {
        "tests": str(len(cases)),
        "failures": str(outcomes.count("failed")),
        "errors": "0",
        "skipped": str(outcomes.count("skipped")),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }
