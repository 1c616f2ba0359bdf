"""Two audits side by side, the results that differ most first, as text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from tinynet.utils.tables import table

from parity.audit.results import Audit, Row
from parity.report.formatting import number

UNIT = "units of rounding: 2^-24 times the size of the terms that a number is a sum of"


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """A result of an operator in two audits; None where one has no such result."""

    operator: str
    quantity: str
    first: Row | None
    second: Row | None

    @property
    def ratio(self) -> float:
        """The second's largest error over the first's; NaN where one is missing or infinite."""
        if self.first is None or self.second is None:
            return math.nan
        if self.first.largest == self.second.largest:
            return 1.0
        if math.inf in (self.first.largest, self.second.largest):
            return math.nan
        return self.second.largest / self.first.largest if self.first.largest else math.inf

    @property
    def distance(self) -> float:
        """How many times as large as the smaller of the two errors the larger is."""
        ratio = self.ratio
        if math.isnan(ratio) or ratio == 0:
            return math.inf
        return max(ratio, 1 / ratio)


def pair_rows(first: Audit, second: Audit) -> list[Pair]:
    """Returns the results of both audits, those first whose errors are farthest apart."""
    tables = [{(row.operator, row.quantity): row for row in a.rows} for a in (first, second)]
    pairs = [
        Pair(*key, tables[0].get(key), tables[1].get(key)) for key in {**tables[0], **tables[1]}
    ]
    return sorted(pairs, key=lambda pair: -pair.distance)  # which is stable


def ratio_text(pair: Pair) -> str:
    """Formats the ratio in three digits, or says why there is none."""
    if pair.first is None or pair.second is None:
        return "only one"
    return "not finite" if math.isnan(pair.ratio) else number(pair.ratio)


def format_audit(audit: Audit) -> str:
    """Formats all rows of an audit, and the formulas of its optimizers."""
    rows = [
        (r.operator, r.quantity, number(r.largest), number(r.median), str(r.arrays), r.where)
        for r in audit.rows
    ]
    heads = ("operator", "result", "largest", "median", "arrays", "largest at")
    return "\n".join(
        [f"{audit.title}: errors in {UNIT}", "", *_table(heads, rows), *_patterns(audit)]
    )


def format_comparison(first: Audit, second: Audit) -> str:
    """Formats the rows of two audits side by side, and the formulas of their optimizers."""
    heads = ("operator", "result", first.title, second.title, "ratio", "larger one at")
    rows = [
        (p.operator, p.quantity, _largest(p.first), _largest(p.second), ratio_text(p), place(p))
        for p in pair_rows(first, second)
    ]
    lines = [f"{second.title} against {first.title}: largest errors in {UNIT}", ""]
    return "\n".join([*lines, *_table(heads, rows), *_patterns(first), *_patterns(second)])


def comparison_document(first: Audit, second: Audit) -> dict[str, Any]:
    """Returns the comparison as a JSON document; a ratio that is not a number is null."""

    def row(pair: Pair) -> dict[str, Any]:
        sizes = (pair.first and pair.first.largest, pair.second and pair.second.largest, pair.ratio)
        finite = (None if size is None or not math.isfinite(size) else size for size in sizes)
        numbers = dict(zip(("first", "second", "ratio"), finite, strict=True))
        named = {"operator": pair.operator, "quantity": pair.quantity}
        return {**named, **numbers, "where": place(pair)}

    audits = (first, second)
    patterns = [{name: str(found) for name, found in audit.patterns.items()} for audit in audits]
    rows = [row(pair) for pair in pair_rows(first, second)]
    return {"first": first.title, "second": second.title, "rows": rows, "patterns": patterns}


def place(pair: Pair) -> str:
    """Returns where the larger of the two errors is."""
    rows = [row for row in (pair.first, pair.second) if row is not None]
    return max(rows, key=lambda row: row.largest).where


def _largest(row: Row | None) -> str:
    return "" if row is None else number(row.largest)


def _patterns(audit: Audit) -> list[str]:
    lines = [f"  {name}: {pattern}" for name, pattern in audit.patterns.items()]
    return ["", f"formulas, {audit.title}:", *lines] if lines else []


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [line.rstrip() for line in table(heads, rows, numbers=0).splitlines()]
