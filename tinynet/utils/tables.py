"""Columns of text, as several commands print them."""

from __future__ import annotations

from collections.abc import Iterable


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], numbers: int = 2) -> str:
    """Lays out columns of text.

    Args:
        header: the columns' names.
        rows: as many cells each.
        numbers: how many of the last columns are numbers, which align to the right.
    """
    cells = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers_from = len(header) - numbers
    return "\n".join(
        "  ".join(
            text.rjust(width) if column >= numbers_from else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
