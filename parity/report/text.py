"""What a person reads of a parity run in a terminal: progress and the verdict."""

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
    traced,
    verdict,
)
from parity.results import Divergence, Evidence, Report, Rung


def format_rung(rung: Rung) -> str:
    """One line of progress."""
    if rung.skipped:
        return f"skip  {rung.name:<18}  {rung.skipped}"
    return (
        f"{status(rung):<4}  {rung.name:<18}  {len(rung.evidence):>5} compared  "
        f"{rung.seconds:>6.1f} s  {_worst(rung)}"
    )


def format_report(report: Report) -> str:
    """The verdict, and for a failure where to look first, what failed and by how much."""
    outcome = "PASSED" if report.passed else "FAILED"
    lines = [
        "",
        f"{outcome}  {report.spec}, weights {report.weights}: {verdict(report)}, "
        f"{report.seconds:.0f} s",
    ]
    if report.divergence:
        lines += ["", *_traced(report.divergence)]
    elif report.first_divergence:
        rung, first = report.first_divergence
        lines += [
            "",
            f"first divergence: {place(first)}, rung {rung.name}",
            *_details(first),
        ]
    for rung in report.rungs:
        if not rung.passed:
            lines += ["", *_failed_rung(report, rung)]
    return "\n".join(lines)


def _worst(rung: Rung) -> str:
    worst = rung.worst
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
        f"  found from      the rung {divergence.rung}",
        f"  source          {address(divergence)}",
        f"  off             {divergence.framework or 'not known which'}",
        f"  error           {distance(item)}",
        f"  bound           {bound(item)}",
        f"  would pass at   {smallest_bound([item])}",
        f"  alone           {SCRIPT}, in the folder of --report",
        *textwrap.wrap(divergence.explanation, 100, initial_indent="  ", subsequent_indent="  "),
    ]


def _details(item: Evidence) -> list[str]:
    lines = [
        f"  kind            {item.kind}",
        f"  error           {distance(item)}",
        f"  bound           {bound(item)}",
        f"  would pass at   {smallest_bound([item])}",
    ]
    return [*lines, f"  note            {item.note}"] if item.note else lines


def _failed_rung(report: Report, rung: Rung) -> list[str]:
    failures = rung.failures
    lines = [
        f"{rung.name}: {len(failures)} of {len(rung.evidence)} comparisons failed "
        f"({rung.title}; {rung.unit})"
    ]
    shown = failures[:SHOWN_FAILURES]
    rows = [("where", "subject", "kind", "error = smallest bound that passes", "bound")]
    rows += [(item.where, item.subject, item.kind, distance(item), bound(item)) for item in shown]
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
    return [*lines, f"  again: {rerun(report, rung)}"]
