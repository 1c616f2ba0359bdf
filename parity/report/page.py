"""The parity report as one HTML page that needs nothing else, and the folder it lies in."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from tinynet.utils.atomic_files import write_text_atomically

from parity.checks import CHECKS
from parity.checks.base import Drawing
from parity.known_differences import KnownDifference
from parity.report.check_plot import check_plot, is_for_a_drawing, measured, spread
from parity.report.document import report_document
from parity.report.formatting import (
    SCRIPT,
    SHOWN_FAILURES,
    bound,
    distance,
    first_divergence,
    number,
    rerun,
    share,
    smallest_bound,
    status,
    summary,
)
from parity.report.heat_map import heat_map
from parity.report.markup import (
    bound_cell,
    command,
    element,
    error_cell,
    facts,
    number_cell,
    remark,
    render,
    row_head,
    section,
    status_cell,
    table,
)
from parity.report.operators import operators
from parity.report.run_plot import run_plot
from parity.results import CheckResult, Comparison, Report

if TYPE_CHECKING:
    from parity.recordings.compare import Difference

_OUTCOMES = ("failed", "the twins are not the same net"), ("passed", "one net in two frameworks")
_LOSS = re.compile(r"loss of step (\d+)")  # the places of a run's losses
_CODE = ("Source", "Place")  # facts of the first divergence that are names in code
_SAYS = "says "  # how the check metrics notes a class
_POINT = "Point at a column or tap it for its numbers; arrow keys go from one to the next."


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A drawing or a table for the page, its title, and what a reader should see in it."""

    title: str
    caption: str
    drawing: Element


def write_html(
    report: Report,
    folder: Path,
    figures: Sequence[Figure] = (),
    known: Sequence[KnownDifference] = (),
) -> Path:
    """Writes ``parity.json``, the script of a traced divergence and a page, and returns its path.

    Args:
        report: what was found.
        folder: created if it does not exist.
        figures: of what else there is to know, shown before the results.
        known: failures that a gate lets pass.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(report_document(report), indent=2, ensure_ascii=False)
    files = {"parity.json": f"{document}\n", "parity.html": render_page(report, figures, known)}
    if report.divergence:
        files[SCRIPT] = report.divergence.script
    for name, text in files.items():
        write_text_atomically(folder / name, text)
    return folder / "parity.html"


def render_page(
    report: Report, figures: Sequence[Figure] = (), known: Sequence[KnownDifference] = ()
) -> str:
    """Renders the whole page, from what :func:`write_html` takes."""
    again = element("h3", "Run it again"), element("p", command(rerun(report)))
    sections = [
        _header(report, known),
        *(section(each.title, remark(each.caption), each.drawing) for each in figures),
        *_failures(report),
        _checks(report, known),
        *_failed_checks(report, known),
        *_layers(report.checks),
        *_gradients(report.checks),
        *_trajectories(report.checks),
        *_whole_net(report.checks),
        *_photographs(report.checks),
        *operators(report.environment),
        section("Environment", facts(report.environment), *again),
    ]
    return render(f"{report.spec}: parity {_OUTCOMES[report.passed][0]}", sections)


def differences(found: Sequence[Difference], names: tuple[str, str]) -> list[Figure]:
    """Makes the figure of what differs between recordings apart from their numbers, if any."""
    rows: list[Element] = []
    for what, first, second, meaning in found:
        style = "failed" if meaning != "expected" else ""
        cells = element("td", first), element("td", second), element("td", meaning, _class=style)
        rows.append(element("tr", row_head(what), *cells))
    caption = "Configuration and environment, the usual cause of all that differs below."
    heads = ("What", *names, "Meaning")
    return [Figure("What is not the same", caption, table(heads, rows))] if rows else []


def _header(report: Report, known: Sequence[KnownDifference]) -> Element:
    word, meaning = _OUTCOMES[report.passed]
    return element(
        "header",
        element("p", word.upper(), _class=f"badge {word}"),
        element("h1", f"{report.spec}: {meaning}"),
        element("p", f"{summary(report)}."),
        *_outlook(report, known),
        remark(f"Weights {report.weights}, {report.seconds:.0f} s"),
    )


def _failures(report: Report) -> Iterator[Element]:
    first = first_divergence(report)
    if first is None:
        return
    codes = {name: element("code", first[1][name]) for name in _CODE if name in first[1]}
    parts = [facts(first[1] | codes)]
    if report.divergence:
        script = element("code", report.divergence.script)
        parts = [
            element("p", report.divergence.explanation),
            *parts,
            element("h3", "The difference alone: ", element("code", SCRIPT)),
            remark("The file lies beside this page. A click selects all of it here."),
            element("pre", script, _class="source", tabindex=0, aria_label=SCRIPT),
        ]
    yield section("Look here first", *parts, _class="alarm")


def _failed_checks(report: Report, known: Sequence[KnownDifference]) -> Iterator[Element]:
    failed = [check for check in report.checks if not check.passed]
    if failed:
        folded = [_failed_check(report, check, known) for check in failed]
        folded[0].set("open", "open")
        yield section("Failures", *folded)


def _failed_check(report: Report, check: CheckResult, known: Sequence[KnownDifference]) -> Element:
    found, shown = check.failures, check.failures[:SHOWN_FAILURES]
    again = element("p", "Again: ", command(rerun(report, check)))
    name = element("strong", check.name)
    if not found:
        return element("details", element("summary", name, ": nothing compared"), again)
    count = f": {len(found):,} of {len(check.comparisons):,} comparisons"
    heads = ("Place", "Compared", "Kind", "Error = smallest bound that passes", "Bound")
    rows = [_row(item, _excuses(report, check, item, known)) for item in shown]
    outcome = f"Smallest bound that passes all: {smallest_bound(found)}."
    more = len(found) - len(shown)
    return element(
        "details",
        element("summary", name, count),
        element("p", f"{check.title}; {check.unit}. {outcome}"),
        table(heads, rows),
        *([remark(f"And {more:,} more, in parity.json.")] if more else ()),
        again,
    )


def _row(item: Comparison, excused: Iterator[Element]) -> Element:
    about = row_head(element("code", item.where)), element("td", item.candidate)
    kind = element("td", item.kind, element("small", item.note), *excused, _class="kind")
    error = number_cell(distance(item), failed=not item.passed)
    return element("tr", *about, kind, error, number_cell(bound(item)))


def _excuses(
    report: Report, check: CheckResult, item: Comparison | None, known: Sequence[KnownDifference]
) -> Iterator[Element]:
    """Tells the known differences for which a gate lets a failure pass, or a check not run."""
    what = report.spec, check.name
    for difference in known:
        if item is None:
            excused = difference.is_about_check(*what)
        else:
            excused = difference.is_about(*what, item) and difference.excuses(item)
        if excused:
            link = element("a", difference.id, href=difference.link)
            yield element("small", "known difference ", link, f": {difference.reason}")


def _outlook(report: Report, known: Sequence[KnownDifference]) -> Iterator[Element]:
    found = [(check, item) for check in report.checks for item in check.failures]
    if found and all(any(_excuses(report, check, item, known)) for check, item in found):
        yield remark("All that failed are known differences, which a gate lets pass.")


def _checks(report: Report, known: Sequence[KnownDifference]) -> Element:
    heads = ("Outcome", "Check", "Compared", "Worst", "Error", "Bound", "All, by share of bound")
    rows = [
        element(
            "tr",
            status_cell(status(check)),
            row_head(check.name, element("small", check.title)),
            number_cell(f"{len(check.comparisons):,}", f"{check.seconds:.1f} s"),
            *_worst_cells(check, _excuses(report, check, None, known)),
        )
        for check in report.checks
    ]
    reasons = facts({check.name: check.reason for check in report.checks})
    intro = (
        "Checks build on one another: the first one that fails is where to look. Errors are "
        "distances from a float64 run; x counts multiples of the float32 rounding noise of the "
        "baseline itself. The bars count comparisons, from a thousandth of their bound to a "
        "thousand times it; the line is the bound."
    )
    why = element("details", element("summary", "Why these bounds"), reasons)
    return section("The checks", remark(intro), table(heads, rows, "checks"), why)


def _worst_cells(check: CheckResult, excused: Iterator[Element]) -> list[Element]:
    worst = check.worst
    if worst is None:
        return [element("td", check.skipped or "nothing was compared", *excused, colspan=4)]
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
        if is_for_a_drawing(check) and _drawing(check) == "layers":
            intro = (
                f"{check.name}, {check.unit}, from left to right the way numbers flow. "
                f"A mark above its bound fails. {_POINT}"
            )
            yield section(check.title, remark(intro), check_plot(check))


def _drawing(check: CheckResult) -> Drawing:
    known = CHECKS.get(check.name)
    return known.drawing if known else "layers"


def _gradients(checks: Sequence[CheckResult]) -> Iterator[Element]:
    shown = [check for check in checks if _drawing(check) == "gradients" and measured(check)]
    if shown:
        intro = (
            "Each tensor's gradient, and that of each layer's input: blocks from input to output, "
            "tensors in the order in which a block uses them. Isolated, a block is fed the "
            "reference's own input and gradient; chained, errors of all later blocks add up. "
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
            plot = run_plot(check.title, truth, runs, samples, limits)
            intro = remark(f"{check.name}, {check.unit}. {_POINT}")
            yield section(check.title, intro, plot)


def _whole_net(checks: Sequence[CheckResult]) -> Iterator[Element]:
    rows: list[Element] = []
    for check in checks:
        for item in measured(check) if not is_for_a_drawing(check) else ():
            outcome = status_cell("ok" if item.passed else "FAIL"), row_head(check.name)
            compared = element("td", item.candidate, element("small", item.where))
            numbers = error_cell(item), number_cell(number(item.noise)), bound_cell(item)
            rows.append(element("tr", *outcome, compared, *numbers))
    if rows:
        heads = ("Outcome", "Check", "Compared", "Error", "Noise", "Bound")
        yield section("The whole net", table(heads, rows))


def _photographs(checks: Sequence[CheckResult]) -> Iterator[Element]:
    """Shows what each runtime says of photographs, and how that is counted."""
    found = [item for check in checks if check.name == "metrics" for item in check.comparisons]
    classes = [item for item in found if item.note.startswith(_SAYS)]
    runtimes = {item.candidate for item in classes}
    counted = [item for item in found if item.candidate in runtimes and item.noise == 0]
    scores = [item for item in counted if item not in classes]
    if classes:
        intro = (
            "What each runtime says of real photographs. Only agreement counts here: weights made "
            "from a seed know no classes."
        )
        grids = [_grid("Photograph", classes, lambda item: item.note.removeprefix(_SAYS))]
        grids += [_grid("Score", scores, _score)] if scores else []
        yield section("Photographs", remark(intro), *grids)


def _score(item: Comparison) -> str:
    return item.note or ("as expected" if item.passed else distance(item))


def _grid(head: str, items: Sequence[Comparison], word: Callable[[Comparison], str]) -> Element:
    found = {(item.where, item.candidate): item for item in items}
    candidates = list(dict.fromkeys(item.candidate for item in items))
    rows = [
        element("tr", row_head(where), *(_answer(found.get((where, c)), word) for c in candidates))
        for where in dict.fromkeys(item.where for item in items)
    ]
    return table((head, *candidates), rows)


def _answer(item: Comparison | None, word: Callable[[Comparison], str]) -> Element:
    if item is None:
        return element("td", "no answer", _class="muted")
    return element("td", word(item), _class="" if item.passed else "failed")
