"""The parity report as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from xml.etree.ElementTree import Element

from parity.evidence import Evidence, Report, Rung
from parity.markup import element, serialise
from parity.report_plot import measured, noise_plot
from parity.wording import (
    SHOWN_FAILURES,
    bound,
    distance,
    multiple,
    number,
    rerun,
    smallest_bound,
    verdict,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A picture for the page: SVG, a title, and what a reader should see in it."""

    title: str
    caption: str
    svg: str


def render_page(report: Report, figures: Sequence[Figure] = ()) -> str:
    """The whole page, with figures of what else was run in front of the ladder."""
    template = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    sections = [
        _header(report),
        *_first_divergence(report),
        *map(_figure, figures),
        _ladder(report),
        *(_failures(report, rung) for rung in report.rungs if not rung.passed),
        *_plots(report),
        *_whole_net(report),
        *_photographs(report),
        _environment(report),
    ]
    title = f"{report.spec}: parity {'passed' if report.passed else 'failed'}"
    return template.substitute(title=escape(title), body=serialise(sections))


def _header(report: Report) -> Element:
    outcome, meaning = (
        ("passed", "one net in two frameworks")
        if report.passed
        else ("failed", "the twins are not the same net")
    )
    return element(
        "header",
        element("p", outcome.upper(), _class=f"badge {outcome}"),
        element("h1", f"{report.spec}: {meaning}"),
        element("p", f"{verdict(report)}."),
        element("p", f"Weights {report.weights}, {report.seconds:.0f} s", _class="muted"),
    )


def _first_divergence(report: Report) -> list[Element]:
    if not report.first_divergence:
        return []
    rung, item = report.first_divergence
    facts = {
        "Place": element("code", item.where),
        "Compared": item.subject or "nothing, the rung broke off",
        "Rung": f"{rung.name}: {rung.title}",
        "Kind": item.kind,
        "Error": f"{distance(item)}, {rung.unit}",
        "Bound": bound(item),
        "Would pass at": smallest_bound([item]),
    }
    if item.note:
        facts["Note"] = item.note
    return [_section("Look here first", _facts(facts), _class="alarm")]


def _figure(figure: Figure) -> Element:
    # As an image and not inline, so that its styles and identifiers stay its own.
    data = base64.b64encode(figure.svg.encode()).decode()
    return _section(
        figure.title,
        element("p", figure.caption, _class="muted"),
        element("img", src=f"data:image/svg+xml;base64,{data}", alt=figure.title, _class="figure"),
    )


def _ladder(report: Report) -> Element:
    heads = ("", "Rung", "Compared", "Worst", "Error", "Bound", "Share of bound", "Why this bound")
    rows = [
        element(
            "tr",
            _status(rung.passed),
            element("th", rung.name, element("small", rung.title), scope="row"),
            _number_cell(f"{len(rung.evidence):,}", f"{rung.seconds:.1f} s"),
            *_worst_cells(rung),
            element("td", rung.reason, _class="why"),
        )
        for rung in report.rungs
    ]
    intro = (
        "Rungs stand on one another: the lowest one that fails is where to look. Errors are "
        "distances from a float64 run; x counts multiples of the float32 rounding noise of the "
        "reference itself."
    )
    return _section(
        "The ladder", element("p", intro, _class="muted"), _table(heads, rows, "ladder")
    )


def _worst_cells(rung: Rung) -> list[Element]:
    worst = rung.worst
    if worst is None:
        return [element("td", "nothing was compared", colspan=4)]
    if worst.error == worst.bound == 0:
        return [element("td", "no difference", _class="muted", colspan=4)]
    return [
        element("td", element("code", worst.where), element("small", worst.subject)),
        _error_cell(worst),
        _number_cell(number(worst.bound), multiple(worst.bound, worst.noise)),
        element("td", _gauge(worst)),
    ]


def _gauge(item: Evidence) -> Element:
    share = ""
    if math.isfinite(item.severity):
        share = f"{item.severity:.0%}" if item.severity < 10 else f"{item.severity:,.0f} times"
    filled = min(item.severity, 1.0)
    bar = element("span", _class="fill" if item.passed else "fill failed")
    bar.set("style", f"width:{filled:.1%}")
    return element("span", element("span", bar, _class="bar"), share, _class="gauge")


def _failures(report: Report, rung: Rung) -> Element:
    again = element("p", "Again: ", element("code", rerun(report, rung), _class="command"))
    failures = rung.failures
    if not failures:
        return _section(f"Failed: {rung.name}", element("p", "Nothing was compared."), again)
    heads = ("Place", "Compared", "Kind", "Error = smallest bound that passes", "Bound")
    rows = [
        element(
            "tr",
            element("th", element("code", item.where), scope="row"),
            element("td", item.subject),
            element("td", item.kind, element("small", item.note), _class="kind"),
            element("td", distance(item), _class="number failed"),
            element("td", bound(item), _class="number"),
        )
        for item in failures[:SHOWN_FAILURES]
    ]
    summary = (
        f"{len(failures):,} of {len(rung.evidence):,} comparisons ({rung.unit}). "
        f"Smallest bound that passes all: {smallest_bound(failures)}."
    )
    more = len(failures) - len(rows)
    return _section(
        f"Failed: {rung.name}",
        element("p", summary),
        _table(heads, rows),
        *([element("p", f"And {more:,} more, in parity.json.", _class="muted")] if more else []),
        again,
    )


def _plots(report: Report) -> list[Element]:
    return [
        _section(
            f"{rung.title}",
            element(
                "p",
                f"{rung.name}, {rung.unit}, from left to right the way numbers flow. "
                "A mark above its bound fails. Point at a column or tap it for its numbers.",
                _class="muted",
            ),
            noise_plot(rung),
        )
        for rung in report.rungs
        if _places(rung) > 1
    ]


def _whole_net(report: Report) -> list[Element]:
    rungs = [rung for rung in report.rungs if _places(rung) == 1]
    if not rungs:
        return []
    heads = ("", "Rung", "Compared", "Error", "Noise", "Bound", "Share of bound")
    rows = [
        element(
            "tr",
            _status(item.passed),
            element("th", rung.name, scope="row"),
            element("td", item.subject),
            element("td", distance(item), _class="number" if item.passed else "number failed"),
            element("td", number(item.noise), _class="number"),
            element("td", bound(item), _class="number"),
            element("td", _gauge(item)),
        )
        for rung in rungs
        for item in measured(rung)
    ]
    return [_section("Logits and loss of the whole net", _table(heads, rows))]


def _photographs(report: Report) -> list[Element]:
    rung = next((rung for rung in report.rungs if rung.name == "predictions"), None)
    if rung is None:
        return []
    answers = {(item.where, item.subject): item for item in rung.evidence}
    photographs = list(dict.fromkeys(item.where for item in rung.evidence))
    runtimes = list(dict.fromkeys(item.subject for item in rung.evidence))
    rows = [
        element(
            "tr",
            element("th", photograph, scope="row"),
            *(_answer_cell(answers.get((photograph, runtime))) for runtime in runtimes),
        )
        for photograph in photographs
    ]
    intro = (
        "What each runtime says of real photographs. Only agreement counts here: weights made "
        "from a seed know no classes."
    )
    return [
        _section(
            "Photographs",
            element("p", intro, _class="muted"),
            _table(("Photograph", *runtimes), rows),
        )
    ]


def _answer_cell(item: Evidence | None) -> Element:
    if item is None:
        return element("td", "no answer", _class="muted")
    return element("td", item.note.removeprefix("says "), _class="" if item.passed else "failed")


def _environment(report: Report) -> Element:
    return _section(
        "Environment",
        _facts(dict(report.environment)),
        element("h3", "Run it again"),
        element("p", element("code", rerun(report), _class="command")),
    )


def _places(rung: Rung) -> int:
    return len({item.where for item in measured(rung)})


def _section(title: str, *children: Element, _class: str = "") -> Element:
    return element("section", element("h2", title), *children, _class=_class)


def _facts(facts: dict[str, str | Element]) -> Element:
    pairs = (
        element("div", element("dt", name), element("dd", value)) for name, value in facts.items()
    )
    return element("dl", *pairs)


def _table(heads: tuple[str, ...], rows: list[Element], _class: str = "") -> Element:
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    table = element("table", element("thead", head), element("tbody", *rows), _class=_class)
    # Reachable by keyboard, since on a narrow screen it scrolls.
    return element("div", table, _class="scroll", tabindex=0)


def _status(passed: bool) -> Element:
    outcome = "passed" if passed else "failed"
    return element("td", element("span", "ok" if passed else "FAIL", _class=f"status {outcome}"))


def _error_cell(item: Evidence) -> Element:
    cell = _number_cell(distance(item).partition(" (")[0], multiple(item.error, item.noise))
    if not item.passed:
        cell.set("class", "number failed")
    return cell


def _number_cell(value: str, detail: str = "") -> Element:
    return element("td", value, element("small", detail), _class="number")
