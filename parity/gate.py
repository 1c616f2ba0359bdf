"""The gate: whether every rung of the ladder was climbed and passed, for every spec.

A ladder says what it found; a gate says whether that is enough. What was not compared, for whatever
reason, is not enough, unless it is listed as a known difference; and so is a list that has outlived
what it lists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from parity.known_differences import KnownDifference
from parity.report.formatting import rerun
from parity.report.junit import Case, Suite, failure_case, report_properties
from parity.results import Evidence, Report, Rung
from parity.suite import LEVELS


class GateError(ValueError):
    """Reports that cannot be judged together. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What a gate makes of one rung of one report.

    Attributes:
        report: the rung's.
        rung: what was judged; for one that the report lacks, an empty one that says so.
        failures: the comparisons that failed and that no known difference excuses.
        known: the known differences that excuse something of the rung.
        exceeded: those that are about a failure beyond their bound.
        passed: whether the rung is good enough.
    """

    report: Report
    rung: Rung
    failures: tuple[Evidence, ...]
    known: tuple[KnownDifference, ...]
    exceeded: tuple[KnownDifference, ...]
    passed: bool

    @property
    def case(self) -> Case:
        """The judgement as a test; one that is let pass counts as skipped."""
        rung = self.rung
        if self.passed and not self.known:
            return Case(rung.name, rung.seconds)
        if self.passed:
            reasons = (f"known difference {k.id}: {k.reason} ({k.link})" for k in self.known)
            return Case(rung.name, rung.seconds, "skipped", "; ".join(reasons))
        if rung.skipped:
            text = f"not climbed: {rung.skipped}\nagain: {rerun(self.report, rung)}"
            return Case(rung.name, rung.seconds, "failed", f"not climbed: {rung.skipped}", text)
        note = "\n".join(
            f"the known difference {k.id} excuses up to {k.bound:g} "
            + ("times the noise" if k.unit == "noise" else rung.unit)
            for k in self.exceeded
        )
        return failure_case(self.report, rung, self.failures, note)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate makes of all reports. ``stale`` are known differences that match nothing."""

    reports: tuple[Report, ...]
    judgements: tuple[Judgement, ...]
    stale: tuple[KnownDifference, ...]

    @property
    def failed(self) -> list[Judgement]:
        """The rungs that are not good enough, the first of them the one to look at first."""
        return [item for item in self.judgements if not item.passed]

    @property
    def passed(self) -> bool:
        """Whether everything was judged to be good enough, and something was judged."""
        return bool(self.judgements) and not self.failed and not self.stale


def judge(
    reports: Sequence[Report], specs: Sequence[str], known: Sequence[KnownDifference]
) -> Verdict:
    """Judges reports.

    Args:
        reports: at least one for each spec.
        specs: names of the specs that must be proven.
        known: what is let pass.

    Raises:
        GateError: no spec, a spec without a report, a report of another spec, or one with a rung
            that no ladder has.
    """
    if not specs:
        raise GateError("no spec is named, so there is nothing to judge")
    reported = {report.spec for report in reports}
    for name in specs:
        if name not in reported:
            raise GateError(f"no report is about {name}, expected one for each of the specs named")
    for report in reports:
        if report.spec not in specs:
            raise GateError(f"a report is about {report.spec}, expected {', '.join(specs)}")
        for rung in report.rungs:
            if rung.name not in LEVELS:
                raise GateError(
                    f"the report about {report.spec} has a rung {rung.name}, expected some of "
                    f"{', '.join(LEVELS)}: it is of another version of this project"
                )
    judgements: list[Judgement] = []
    matched: set[str] = set()
    for report in reports:
        rungs = {rung.name: rung for rung in report.rungs}
        for name in LEVELS:
            judgement = _judge_rung(report, rungs.get(name) or _missing(name), known)
            matched.update(item.id for item in (*judgement.known, *judgement.exceeded))
            judgements.append(judgement)
    stale = tuple(item for item in known if item.id not in matched)
    return Verdict(tuple(reports), tuple(judgements), stale)


def _missing(name: str) -> Rung:
    level = LEVELS[name]
    skipped = "the report does not have it"
    return Rung(name, level.title, level.unit, level.reason, (), 0.0, skipped=skipped)


def _judge_rung(report: Report, rung: Rung, known: Sequence[KnownDifference]) -> Judgement:
    if rung.skipped:
        about = tuple(item for item in known if item.is_about_rung(report.spec, rung.name))
        return Judgement(report, rung, (), about, (), passed=bool(about))
    failures: list[Evidence] = []
    used: dict[str, KnownDifference] = {}
    exceeded: dict[str, KnownDifference] = {}
    for failure in rung.failures:
        about = [item for item in known if item.is_about(report.spec, rung.name, failure)]
        excusing = [item for item in about if item.excuses(failure)]
        used.update({item.id: item for item in excusing})
        if not excusing:
            failures.append(failure)
            exceeded.update({item.id: item for item in about})
    passed = bool(rung.evidence) and not failures
    return Judgement(
        report, rung, tuple(failures), tuple(used.values()), tuple(exceeded.values()), passed
    )


def format_verdict(verdict: Verdict) -> str:
    """The verdict; for a failure first what to look at, then all that failed."""
    failed, known = verdict.failed, _excused(verdict)
    lines = [f"{'PASSED' if verdict.passed else 'FAILED'}  {_counts(verdict)}"]
    if failed:
        first, text = failed[0], failed[0].case
        lines += ["", f"look first at {first.report.spec}, rung {first.rung.name}"]
        lines += [f"  {line}" for line in text.text.splitlines()]
        lines += ["", "failed"]
        lines += [f"  {j.report.spec}  {j.rung.name}  {j.case.message}" for j in failed]
    if verdict.stale:
        lines += ["", "known differences that match nothing: remove them, or correct them"]
        lines += [f"  {item.id}  {_place(item)}" for item in verdict.stale]
    if known:
        lines += ["", "let pass"]
        lines += [f"  {j.report.spec}  {j.rung.name}  {j.case.message}" for j in known]
    return "\n".join(lines)


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """The verdict as a JSON document; the fields are promised in the command's help."""
    return {
        "passed": verdict.passed,
        "specs": [report.spec for report in verdict.reports],
        "rungs": len(verdict.judgements),
        "failures": [_judgement_document(item) for item in verdict.failed],
        "known": [
            _judgement_document(item) | {"ids": [k.id for k in item.known]}
            for item in _excused(verdict)
        ],
        "stale": [item.id for item in verdict.stale],
    }


def verdict_suites(verdict: Verdict) -> list[Suite]:
    """The verdict as suites: one for each report, and one of the known differences if there are
    stale ones.
    """
    suites = [
        Suite(
            report.spec,
            tuple(item.case for item in verdict.judgements if item.report is report),
            report_properties(report),
        )
        for report in verdict.reports
    ]
    stale = tuple(
        Case(item.id, 0.0, "failed", "matches nothing", f"remove it, or correct it: {_place(item)}")
        for item in verdict.stale
    )
    return [*suites, Suite("known differences", stale)] if stale else suites


def _excused(verdict: Verdict) -> list[Judgement]:
    return [item for item in verdict.judgements if item.passed and item.known]


def _counts(verdict: Verdict) -> str:
    failed, known = len(verdict.failed), len(_excused(verdict))
    specs, rungs = len(verdict.reports), len(verdict.judgements)
    text = f"{specs} reports, {rungs} rungs: {rungs - failed - known} passed, {failed} failed"
    text += f", {known} let pass as known differences" if known else ""
    stale = len(verdict.stale)
    return text + (f"; {stale} known differences match nothing" if stale else "")


def _place(item: KnownDifference) -> str:
    return f"{item.spec}, rung {item.rung}, {item.where} ({item.subject})"


def _judgement_document(item: Judgement) -> dict[str, Any]:
    return {
        "spec": item.report.spec,
        "rung": item.rung.name,
        "message": item.case.message,
        "again": rerun(item.report, item.rung),
    }
