"""What a person reads of a parity run in a terminal: progress and the result."""

from __future__ import annotations

import textwrap

from parity.report.formatting import (
    SCRIPT,
    SHOWN_FAILURES,
    address,
    bound,
    computed,
    distance,
    multiple,
    place,
    rerun,
    smallest_bound,
    status,
    summary,
    traced,
)
from parity.results import CheckResult, Comparison, Divergence, Report


def format_check(check: CheckResult) -> str:
    """One line of progress."""
    if check.skipped:
        return f"skip  {check.name:<18}  {check.skipped}"
    return (
        f"{status(check):<4}  {check.name:<18}  {len(check.comparisons):>5} compared  "
        f"{check.seconds:>6.1f} s  {_worst(check)}"
    )


def format_report(report: Report) -> str:
    """The result, and for a failure where to look first, what failed and by how much."""
    word = "PASSED" if report.passed else "FAILED"
    lines = [
        "",
        f"{word}  {report.spec}, weights {report.weights}: {summary(report)}, "
        f"{report.seconds:.0f} s",
    ]
    if report.divergence:
        lines += ["", *_traced(report.divergence)]
    elif report.first_divergence:
        check, first = report.first_divergence
        lines += [
            "",
            f"first divergence: {place(first)}, check {check.name}",
            *_details(first),
        ]
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


def _traced(divergence: Divergence) -> list[str]:
    item = traced(divergence)
    return [
        f"first divergence: {divergence.where}, {computed(divergence)}",
        f"  found from      the check {divergence.check}",
        f"  source          {address(divergence)}",
        f"  off             {divergence.framework or 'not known which'}",
        f"  error           {distance(item)}",
        f"  bound           {bound(item)}",
        f"  would pass at   {smallest_bound([item])}",
        f"  alone           {SCRIPT}, in the folder of --report",
        *textwrap.wrap(divergence.explanation, 100, initial_indent="  ", subsequent_indent="  "),
    ]


def _details(item: Comparison) -> list[str]:
    lines = [
        f"  kind            {item.kind}",
        f"  error           {distance(item)}",
        f"  bound           {bound(item)}",
        f"  would pass at   {smallest_bound([item])}",
    ]
    return [*lines, f"  note            {item.note}"] if item.note else lines


def _failed_check(report: Report, check: CheckResult) -> list[str]:
    failures = check.failures
    lines = [
        f"{check.name}: {len(failures)} of {len(check.comparisons)} comparisons failed "
        f"({check.title}; {check.unit})"
    ]
    shown = failures[:SHOWN_FAILURES]
    rows = [("where", "candidate", "kind", "error = smallest bound that passes", "bound")]
    rows += [(item.where, item.candidate, item.kind, distance(item), bound(item)) for item in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    notes = ["", *(textwrap.shorten(item.note, 100, placeholder=" ...") for item in shown)]
    if shown:
        for row, note in zip(rows, notes, strict=True):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(f"  {'  '.join(cells)}  {note}".rstrip())
    if len(failures) > len(shown):
        lines.append(f"  and {len(failures) - len(shown)} more; --report or --json gives them all")
    if failures:
        lines.append(f"  smallest bound that passes all: {smallest_bound(failures)}")
    return [*lines, f"  again: {rerun(report, check)}"]
