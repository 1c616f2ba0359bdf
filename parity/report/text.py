"""What a person reads of a parity run in a terminal: progress and the result."""

from __future__ import annotations

import textwrap

from tinynet.utils.tables import table

from parity.report.formatting import (
    SCRIPT,
    SHOWN_FAILURES,
    bound,
    distance,
    first_divergence,
    multiple,
    place,
    rerun,
    smallest_bound,
    status,
    summary,
)
from parity.results import CheckResult, Report

# The facts of the first divergence that its headline tells.
_IN_HEADLINE = ("Place", "Computed there", "Compared", "Check")


def format_check(check: CheckResult) -> str:
    """Writes one line of progress."""
    if check.skipped:
        return f"skip  {check.name:<18}  {check.skipped}"
    return (
        f"{status(check):<4}  {check.name:<18}  {len(check.comparisons):>5} compared  "
        f"{check.seconds:>6.1f} s  {_worst(check)}"
    )


def format_report(report: Report) -> str:
    """Writes the result, and for a failure where to look first, what failed and by how much."""
    word = "PASSED" if report.passed else "FAILED"
    outcome = f"weights {report.weights}: {summary(report)}, {report.seconds:.0f} s"
    lines = ["", f"{word}  {report.spec}, {outcome}"]
    if first := first_divergence(report):
        headline, facts = first
        lines += ["", f"first divergence: {headline}"]
        if report.divergence:
            facts["Alone"] = f"{SCRIPT}, in the folder of --report"
        shown = {name.lower(): fact for name, fact in facts.items() if name not in _IN_HEADLINE}
        lines += [f"  {name:<16}{fact}" for name, fact in shown.items()]
        explanation = report.divergence.explanation if report.divergence else ""
        lines += textwrap.wrap(explanation, 100, initial_indent="  ", subsequent_indent="  ")
    for check in report.checks:
        if not check.passed:
            lines += ["", *_failed_check(report, check)]
    return "\n".join(lines)


def _worst(check: CheckResult) -> str:
    worst = check.worst
    if worst is None:
        return "nothing was compared"
    if worst.error == worst.bound == 0:
        return "no difference"
    error = multiple(worst.error, worst.noise)
    if error:
        error += f" noise (bound {multiple(worst.bound, worst.noise)})"
    return f"worst {error or distance(worst)}: {place(worst)}"


def _failed_check(report: Report, check: CheckResult) -> list[str]:
    failures, shown = check.failures, check.failures[:SHOWN_FAILURES]
    lines = [
        f"{check.name}: {len(failures)} of {len(check.comparisons)} comparisons failed "
        f"({check.title}; {check.unit})"
    ]
    if shown:
        heads = ("where", "candidate", "kind", "error = smallest bound that passes", "bound", "")
        notes = [textwrap.shorten(item.note, 100, placeholder=" ...") for item in shown]
        rows = [
            (item.where, item.candidate, item.kind, distance(item), bound(item), note)
            for item, note in zip(shown, notes, strict=True)
        ]
        lines += [f"  {row}".rstrip() for row in table(heads, rows, numbers=0).splitlines()]
        if len(failures) > len(shown):
            more = len(failures) - len(shown)
            lines.append(f"  and {more} more; --report or --json gives them all")
        lines.append(f"  smallest bound that passes all: {smallest_bound(failures)}")
    return [*lines, f"  again: {rerun(report, check)}"]
