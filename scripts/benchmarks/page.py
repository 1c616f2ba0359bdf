"""The benchmark's report as one HTML page that needs nothing beside it, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from tinynet.utils.atomic_files import write_text_atomically

from parity.report.drawing import canvas
from parity.report.markup import (
    command,
    element,
    facts,
    number_cell,
    remark,
    render,
    section,
    table,
)

_TITLE = "Benchmark of the TinyNet twins"
_WIDTH, _HEIGHT = 300, 16


def milliseconds(seconds: float, relative_to: float) -> str:
    """A time with as many digits as three of another one have."""
    digits = max(0, 2 - math.floor(math.log10(1e3 * relative_to)))
    return f"{1e3 * seconds:.{digits}f}"


def rate(per_second: float) -> str:
    """How many a second, to three digits or to the whole number."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def write_page(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes a report as ``benchmark.html`` and ``benchmark.json`` into a folder.

    Args:
        report: what ``benchmark.py --json`` prints.
        folder: made if it is not there.

    Raises:
        DocumentError: a file cannot be placed there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"benchmark.html": _render(report), "benchmark.json": json.dumps(report, indent=1)}
    paths: list[Path] = []
    for name, text in texts.items():
        paths.append(folder / name)
        write_text_atomically(paths[-1], text)
    return paths


def _render(report: Mapping[str, Any]) -> str:
    intro = (
        "A bar is the time of one job, so shorter is better: its median, with a line from the "
        "fastest to the slowest round. Times are in milliseconds; the ratio is how many times as "
        "long as ours a side takes. A limit is a part that no side can avoid."
    )
    sections = [
        element("header", element("h1", _TITLE), element("p", intro)),
        *(_race(race) for race in report["races"]),
        section(
            "How it was measured",
            facts({"Date": report["date"], "Again": command(report["command"])}),
            facts(report["environment"]),
        ),
    ]
    return render(_TITLE, sections)


def _race(race: Mapping[str, Any]) -> Element:
    ran = [side for side in race["sides"] if side["seconds"]]
    # Of the medians: one round that something delayed should not shorten all bars.
    longest = max(side["seconds"]["median"] for side in ran)
    heads = ("Side", "Ratio to ours", "Time", "Milliseconds", f"{race['unit'].capitalize()} / s")
    return section(
        race["name"],
        table(heads, [_row(side, ran[0] is side, longest) for side in ran]),
        *(
            remark(f"Left out: {side['name']}, {side['unavailable']}")
            for side in race["sides"]
            if side["unavailable"]
        ),
    )


def _row(side: Mapping[str, Any], ours: bool, longest: float) -> Element:
    low, median, high = (side["seconds"][key] for key in ("min", "median", "max"))
    kind = "s0" if ours else "noise" if side["limit"] else "s1"
    return element(
        "tr",
        element("th", side["name"], element("small", "limit" * side["limit"]), scope="row"),
        number_cell(f"{side['ratio']:.2f}"),
        element("td", _bar(kind, low / longest, median / longest, high / longest)),
        number_cell(
            milliseconds(median, median),
            f"{milliseconds(low, median)} to {milliseconds(high, median)}",
        ),
        number_cell(rate(side["per_second"])),
    )


def _bar(kind: str, low: float, median: float, high: float) -> Element:
    # All are shares of the longest median; what is longer runs out of the drawing.
    drawing = canvas(_WIDTH, _HEIGHT)
    full, middle = _WIDTH / 1.15, _HEIGHT / 2
    bar = {"x": 0, "y": 2, "width": max(1.0, median * full), "height": _HEIGHT - 4}
    drawing.append(element("rect", _class=kind, **bar))
    line = {"x1": low * full, "x2": min(_WIDTH, high * full), "y1": middle, "y2": middle}
    drawing.append(element("line", _class="sample", **line))
    return drawing
