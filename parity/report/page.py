"""The parity report as one HTML page that needs nothing beside it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from xml.etree.ElementTree import Element

from parity.known_differences import KnownDifference
from parity.report.answers import photographs, whole_net
from parity.report.failures import failed_checks, failures
from parity.report.formatting import rerun, share, status, summary
from parity.report.heat import heat_map
from parity.report.known import excuses_for_skipping, outlook
from parity.report.markup import element, serialise
from parity.report.noise import is_for_a_drawing, measured, noise_plot
from parity.report.operators import operators
from parity.report.parts import (
    bound_cell,
    command,
    error_cell,
    facts,
    number_cell,
    remark,
    section,
    status_cell,
    table,
)
from parity.report.series import series_plot
from parity.report.spread import spread
from parity.results import CheckResult, Comparison, Report

# Checks of thousands of tensors in no order that tells anything: the suite shows their spread.
_NO_PLOT = ("schedule", "optimizer", "ema", "trajectory", "resume")
_LOSS = re.compile(r"loss of step (\d+)")  # the places of a run's losses
_POINT = "Point at a column or tap it for its numbers; arrow keys go from one to the next."


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A drawing or a table for the page, its title, and what a reader should see in it."""

    title: str
    caption: str
    drawing: Element


def render_page(
    report: Report, figures: Sequence[Figure] = (), known: Sequence[KnownDifference] = ()
) -> str:
    """The whole page.

    Args:
        report: what was found.
        figures: of what else there is to know, to stand in front of what was found.
        known: failures that a gate lets pass.
    """
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    sections = [
        _header(report, known),
        *(section(each.title, remark(each.caption), each.drawing) for each in figures),
        *failures(report),
        _checks(report, known),
        *failed_checks(report, known),
        *_layers(report.checks),
        *_gradients(report.checks),
        *_trajectories(report.checks),
        *whole_net(report.checks),
        *photographs(report.checks),
        *operators(report.environment),
        _environment(report),
    ]
    title = f"{report.spec}: parity {'passed' if report.passed else 'failed'}"
    return template.substitute(title=escape(title), body=serialise(sections))


def _header(report: Report, known: Sequence[KnownDifference]) -> Element:
    word, meaning = (
        ("passed", "one net in two frameworks")
        if report.passed
        else ("failed", "the twins are not the same net")
    )
    return element(
        "header",
        element("p", word.upper(), _class=f"badge {word}"),
        element("h1", f"{report.spec}: {meaning}"),
        element("p", f"{summary(report)}."),
        *outlook(report, known),
        remark(f"Weights {report.weights}, {report.seconds:.0f} s"),
    )


def _checks(report: Report, known: Sequence[KnownDifference]) -> Element:
    heads = ("Outcome", "Check", "Compared", "Worst", "Error", "Bound", "All, by share of bound")
    rows = [
        element(
            "tr",
            status_cell(status(check)),
            element("th", check.name, element("small", check.title), scope="row"),
            number_cell(f"{len(check.comparisons):,}", f"{check.seconds:.1f} s"),
            *_worst_cells(check, excuses_for_skipping(report, check, known)),
        )
        for check in report.checks
    ]
    reasons = facts({check.name: check.reason for check in report.checks})
    intro = (
        "Checks stand on one another: the first one that fails is where to look. Errors are "
        "distances from a float64 run; x counts multiples of the float32 rounding noise of the "
        "baseline itself. The bars count comparisons, from a thousandth of their bound to a "
        "thousand times it; the line is the bound."
    )
    why = element("details", element("summary", "Why these bounds"), reasons)
    return section("The checks", remark(intro), table(heads, rows, "checks"), why)


def _worst_cells(check: CheckResult, excuses: Iterable[Element]) -> list[Element]:
    worst = check.worst
    if worst is None:
        return [element("td", check.skipped or "nothing was compared", *excuses, colspan=4)]
    if worst.error == worst.bound == 0:
        none = element("td", "no difference", _class="muted", colspan=3)
        return [none, element("td", spread(check))]
    return [
        element("td", element("code", worst.where), element("small", worst.candidate)),
        error_cell(worst),
        bound_cell(worst),
        element("td", spread(check), element("small", share(worst))),
    ]


def _layers(checks: Sequence[CheckResult]) -> Iterator[Element]:
    for check in checks:
        if is_for_a_drawing(check) and check.name not in _NO_PLOT and not _of_gradients(check):
            intro = (
                f"{check.name}, {check.unit}, from left to right the way numbers flow. "
                f"A mark above its bound fails. {_POINT}"
            )
            yield section(check.title, remark(intro), noise_plot(check))


def _of_gradients(check: CheckResult) -> bool:
    return check.name.startswith("gradients")


def _gradients(checks: Sequence[CheckResult]) -> Iterator[Element]:
    shown = [check for check in checks if _of_gradients(check) and measured(check)]
    if shown:
        intro = (
            "Each tensor's gradient, and that of each layer's input: blocks from input to output, "
            "tensors in the order in which a block uses them. Isolated, a block is fed the "
            "reference's own input and gradient; chained, errors of all behind it add up. "
            f"{_POINT.replace('column', 'cell')}"
        )
        yield section("Gradients", remark(intro), heat_map(shown))


def _trajectories(checks: Sequence[CheckResult]) -> Iterator[Element]:
    for check in checks:
        limits: dict[int, list[Comparison]] = {}
        for item in check.comparisons:
            if match := _LOSS.fullmatch(item.where):
                limits.setdefault(int(match[1]), []).append(item)
        if check.series and limits:
            truth, *others = check.series
            held = {item.candidate for items in limits.values() for item in items}
            runs = [run for run in others if run.label in held]
            samples = [run for run in others if run.label not in held]
            intro = f"{check.name}, {check.unit}. {_POINT}"
            drawing = series_plot(check.title, truth, runs, samples, limits)
            yield section(check.title, remark(intro), drawing)


def _environment(report: Report) -> Element:
    return section(
        "Environment",
        facts(report.environment),
        element("h3", "Run it again"),
        element("p", command(rerun(report))),
    )
