"""What the page says of two recordings beside their numbers: what they are and where they ran."""

from __future__ import annotations

from collections.abc import Sequence

from parity.recordings.comparison import Difference
from parity.report.markup import element
from parity.report.page import Figure
from parity.report.parts import table


def differences(found: Sequence[Difference], names: tuple[str, str]) -> list[Figure]:
    """A part of the page for what differs, if anything does.

    Args:
        found: what is not the same, what matters most first.
        names: what to call the recordings.
    """
    rows = [
        element(
            "tr",
            element("th", item.what, scope="row"),
            element("td", item.first),
            element("td", item.second),
            element("td", item.meaning, _class="failed" if item.meaning != "expected" else ""),
        )
        for item in found
    ]
    caption = "Configuration and environment, the usual cause of all that differs below."
    heads = ("What", *names, "Meaning")
    return [Figure("What is not the same", caption, table(heads, rows))] if rows else []
