"""The gate: whether every check of the suite was run and passed, for every spec.

The suite says what it found; a gate says whether that is enough. What was not compared, for
whatever reason, is not enough, unless it is listed as a known difference. An entry of that list
that matches nothing fails the gate too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from parity.checks import CHECKS
from parity.known_differences import KnownDifference
from parity.report.formatting import rerun
from parity.report.junit import Case, Suite, failure_case, report_suite
from parity.results import CheckResult, Comparison, Report


class GateError(ValueError):
    """Reports that cannot be decided together. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What a gate makes of one check of one report.

    Attributes:
        report: the check's.
        check: what was decided on; for one that the report lacks, an empty one that says so.
        failures: the comparisons that failed and that no known difference excuses.
        known: the known differences that excuse something of the check.
        exceeded: those that are about a failure beyond their bound.
    """

    report: Report
    check: CheckResult
    failures: Sequence[Comparison] = ()
    known: Sequence[KnownDifference] = ()
    exceeded: Sequence[KnownDifference] = ()

    @property
    def passed(self) -> bool:
        """Says whether the check is good enough."""
        if self.check.skipped:
            return bool(self.known)
        return bool(self.check.comparisons) and not self.failures

    @property
    def case(self) -> Case:
        """Returns the decision as a test; one that is let pass counts as skipped."""
        check, ran = self.check, (self.check.name, self.check.seconds)
        if self.passed:
            reasons = [f"known difference {k.id}: {k.reason} ({k.link})" for k in self.known]
            return Case(*ran, "skipped", "; ".join(reasons)) if reasons else Case(*ran)
        if check.skipped:
            message = f"not run: {check.skipped}"
            text = f"{message}\nagain: {rerun(self.report, check)}"
            return Case(*ran, "failed", message, text)
        note = "\n".join(
            f"the known difference {k.id} excuses up to {k.bound:g} "
            + ("times the noise" if k.unit == "noise" else check.unit)
            for k in self.exceeded
        )
        return failure_case(self.report, check, self.failures, note)


@dataclasses.dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate makes of all reports. ``stale`` are known differences that match nothing."""

    reports: tuple[Report, ...]
    decisions: tuple[Decision, ...]
    stale: tuple[KnownDifference, ...]

    @property
    def failed(self) -> list[Decision]:
        """Lists the checks that are not good enough, what to look at first in front."""
        return [item for item in self.decisions if not item.passed]

    @property
    def excused(self) -> list[Decision]:
        """Lists the checks that known differences let pass."""
        return [item for item in self.decisions if item.passed and item.known]

    @property
    def passed(self) -> bool:
        """Says whether every check is good enough, and there was at least one."""
        return bool(self.decisions) and not self.failed and not self.stale


def decide(
    reports: Sequence[Report], specs: Sequence[str], known: Sequence[KnownDifference]
) -> GateResult:
    """Decides whether reports prove the specs of these names, apart from what is known.

    Raises:
        GateError: no spec, a spec without a report, a report of another spec, or one with a check
            that the suite does not have.
    """
    if not specs:
        raise GateError("no spec is named, so there is nothing to decide")
    reported = {report.spec for report in reports}
    for name in specs:
        if name not in reported:
            raise GateError(f"no report is about {name}, expected one for each of the specs named")
    decisions: list[Decision] = []
    for report in reports:
        if report.spec not in specs:
            raise GateError(f"a report is about {report.spec}, expected {', '.join(specs)}")
        checks = {check.name: check for check in report.checks}
        for name in checks:
            if name not in CHECKS:
                raise GateError(
                    f"the report about {report.spec} has a check {name}, expected some of "
                    f"{', '.join(CHECKS)}: it is of another version of this project"
                )
        for name, check in CHECKS.items():
            found = checks.get(name) or check.result(skipped="the report does not have it")
            decisions.append(_decide_check(report, found, known))
    matched = {item for each in decisions for item in (*each.known, *each.exceeded)}
    stale = tuple(item for item in known if item not in matched)
    return GateResult(tuple(reports), tuple(decisions), stale)


def _decide_check(report: Report, check: CheckResult, known: Sequence[KnownDifference]) -> Decision:
    what = report.spec, check.name
    if check.skipped:
        return Decision(report, check, known=[k for k in known if k.is_about_check(*what)])
    failures, used, exceeded = list[Comparison](), list[KnownDifference](), list[KnownDifference]()
    for failure in check.failures:
        about = [item for item in known if item.is_about(*what, failure)]
        if excusing := [item for item in about if item.excuses(failure)]:
            used += excusing
        else:
            failures.append(failure)
            exceeded += about
    return Decision(report, check, failures, [*dict.fromkeys(used)], [*dict.fromkeys(exceeded)])


def format_gate(result: GateResult) -> str:
    """Writes the result; for a failure first what to look at, then all that failed."""
    failed, known, stale = len(result.failed), len(result.excused), len(result.stale)
    reports, checks = len(result.reports), len(result.decisions)
    count = f"{reports} reports, {checks} checks: {checks - failed - known} passed, {failed} failed"
    count += f", {known} let pass as known differences" if known else ""
    count += f"; {stale} known differences match nothing" if stale else ""
    lines = [f"{'PASSED' if result.passed else 'FAILED'}  {count}"]
    if failed:
        first = result.failed[0]
        lines += ["", f"look first at {first.report.spec}, check {first.check.name}"]
        lines += [f"  {line}" for line in first.case.text.splitlines()]
    for title, texts in (
        ("failed", [_line(item) for item in result.failed]),
        (
            "known differences that match nothing: remove them, or correct them",
            [f"{item.id}  {_place(item)}" for item in result.stale],
        ),
        ("let pass", [_line(item) for item in result.excused]),
    ):
        lines += ["", title, *(f"  {text}" for text in texts)] if texts else []
    return "\n".join(lines)


def _line(item: Decision) -> str:
    return f"{item.report.spec}  {item.check.name}  {item.case.message}"


def gate_document(result: GateResult) -> dict[str, Any]:
    """Returns the result as a JSON document; the fields are promised in the command's help."""
    return {
        "passed": result.passed,
        "specs": [report.spec for report in result.reports],
        "checks": len(result.decisions),
        "failures": [_decision_document(item) for item in result.failed],
        "known": [
            {**_decision_document(each), "ids": [k.id for k in each.known]}
            for each in result.excused
        ],
        "stale": [item.id for item in result.stale],
    }


def _decision_document(item: Decision) -> dict[str, Any]:
    about, result = {"spec": item.report.spec, "check": item.check.name}, item.case.message
    return {**about, "message": result, "again": rerun(item.report, item.check)}


def gate_suites(result: GateResult) -> list[Suite]:
    """Makes a suite of each report, and one of the known differences that are stale, if any."""
    suites = [
        report_suite(report, [item.case for item in result.decisions if item.report is report])
        for report in result.reports
    ]
    about = 0.0, "failed", "matches nothing"
    stale = [Case(k.id, *about, f"remove it, or correct it: {_place(k)}") for k in result.stale]
    return [*suites, Suite("known differences", stale)] if stale else suites


def _place(item: KnownDifference) -> str:
    return f"{item.spec}, check {item.check}, {item.where} ({item.candidate})"
