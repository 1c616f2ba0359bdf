"""How a report words numbers and outcomes, so that its text, its page and JUnit say the same."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from parity.results import CheckResult, Comparison, Report

# The first failures are nearest to the cause; parity.json holds all of them.
SHOWN_FAILURES = 10
# What shows a traced difference alone, in the report's folder.
SCRIPT = "reproduce.py"


def number(value: float) -> str:
    """Writes a number in three digits."""
    return f"{value:.3g}"


def multiple(value: float, noise: float) -> str:
    """Writes a number as a multiple of rounding noise; empty where that means nothing."""
    if not (0 < noise < math.inf and math.isfinite(value)):
        return ""
    times = value / noise
    if times < 1000:
        return f"{times:.3g}x"
    return f"{times:,.0f}x" if times < 1e7 else f"{times:.1e}x"


def with_multiple(value: float, noise: float) -> str:
    """Writes a number, and after it the multiple of rounding noise, if it is one."""
    times = multiple(value, noise)
    return f"{number(value)} ({times} noise)" if times else number(value)


def place(item: Comparison) -> str:
    """Names what was compared, and where."""
    return f"{item.where} ({item.candidate})" if item.candidate else item.where


def distance(item: Comparison) -> str:
    """Writes the error, or the kind of difference where no number says it."""
    if math.isfinite(item.error) or item.kind == "value":
        return with_multiple(item.error, item.noise)
    return item.kind


def bound(item: Comparison) -> str:
    """Writes the bound, and the multiple of rounding noise that it is."""
    return with_multiple(item.bound, item.noise)


def held_to(item: Comparison) -> str:
    """Writes the bound in a few words, and whether it was missed."""
    limit = multiple(item.bound, item.noise) or number(item.bound)
    return f"bound {limit}" if item.passed else f"bound {limit} FAILED"


def share(item: Comparison) -> str:
    """Says how much of its bound an error takes; empty where that is not a multiple of noise."""
    if item.noise == 0 or not math.isfinite(item.severity):
        return ""
    if item.severity < 10:
        return f"{item.severity:.0%} of the bound"
    return f"{item.severity:,.0f} times the bound"


def smallest_bound(failures: Sequence[Comparison]) -> str:
    """Writes the smallest bound that would have passed all failures, and the one there is."""
    hopeless = sorted({distance(item) for item in failures if not math.isfinite(item.error)})
    if hopeless:
        return f"none ({', '.join(hopeless)})"
    # Bounds within a check differ from layer to layer, so the worst is the farthest beyond its own.
    worst = max(failures, key=lambda item: (item.severity, item.error))
    if worst.bound == 0:
        return f"{number(worst.error)}, but only 0 is right here"
    return f"{with_multiple(worst.error, worst.noise)} instead of {bound(worst)}"


def rerun(report: Report, check: CheckResult | None = None) -> str:
    """Returns the command that runs all checks again, or one check of it."""
    command = report.command or f"tinynet parity --spec {shlex.quote(report.spec)}"
    # Of an option given twice, the last counts.
    return f"{command} --checks {check.name}" if check else command


def first_divergence(report: Report) -> tuple[str, dict[str, str]] | None:
    """Says what to look at first, in a line and in facts by name; None where nothing failed."""
    if found := report.divergence:
        item = Comparison(found.framework, found.where, found.error, found.bound, found.noise)
        computed = ", ".join(filter(None, (found.operation, found.direction)))
        return f"{found.where}, {computed}", {
            "Source": ": ".join(filter(None, (found.file, found.definition))) or "not known",
            "Place": found.where,
            "Computed there": computed,
            "Off": found.framework or "not known which",
            "Error": distance(item),
            "Bound": bound(item),
            "Would pass at": smallest_bound([item]),
            "Found from": f"the check {found.check}",
        }
    if not report.first_divergence:
        return None
    check, item = report.first_divergence
    facts = {
        "Place": item.where,
        "Compared": item.candidate or "nothing, the check broke off",
        "Check": f"{check.name}: {check.title}",
        "Kind": item.kind,
        "Error": f"{distance(item)}, {check.unit}",
        "Bound": bound(item),
        "Would pass at": smallest_bound([item]),
    }
    return f"{place(item)}, check {check.name}", facts | ({"Note": item.note} if item.note else {})


def status(check: CheckResult) -> str:
    """Says the outcome of a check in a word."""
    if check.skipped:
        return "skipped"
    return "ok" if check.passed else "FAIL"


def summary(report: Report) -> str:
    """Says the outcome in one sentence."""
    failed = [check.name for check in report.checks if not check.passed]
    ran = sum(not check.skipped for check in report.checks)
    skipped = len(report.checks) - ran
    beside = f", {skipped} skipped" if skipped else ""
    compared = sum(len(check.comparisons) for check in report.checks)
    if failed:
        return f"{len(failed)} of {ran} checks failed{beside}: {', '.join(failed)}"
    if not ran:
        return f"no check was run{beside}, so nothing is proven"
    return f"{ran} of {ran} checks passed{beside}, {compared:,} comparisons"
