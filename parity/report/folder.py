"""The folder of a report: a page for people, JSON for machines, a script that shows a failure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tinynet.utils.atomic_files import write_atomically

from parity.known_differences import KnownDifference
from parity.report.formatting import SCRIPT
from parity.report.page import Figure, render_page
from parity.results import Report, report_document


def write_html(
    report: Report,
    folder: Path,
    figures: Sequence[Figure] = (),
    known: Sequence[KnownDifference] = (),
) -> Path:
    """Writes ``parity.html``, which needs nothing beside it, ``parity.json``, and the script that
    shows a traced divergence, if there is one.

    Args:
        report: what was found.
        folder: where to; created if it does not exist.
        figures: of what else there is to know.
        known: failures that a gate lets pass.

    Returns:
        The path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "parity.html"
    document = json.dumps(report_document(report), indent=2, ensure_ascii=False) + "\n"
    _write(folder / "parity.json", document)
    if report.divergence:
        _write(folder / SCRIPT, report.divergence.script)
    _write(page, render_page(report, figures, known))
    return page


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda path: path.write_text(text, encoding="utf-8"))
