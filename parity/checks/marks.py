"""Marks of what must never change, whatever it is compared with."""

from __future__ import annotations

from parity.results import Comparison


def marked(
    candidate: str, where: str, found: str, expected: str, otherwise: str, part: str
) -> Comparison:
    """Compares a mark with the one that has always been; ``otherwise`` says what it is not."""
    matches = found == expected
    note = "" if matches else f"marked {found}, expected {expected}: {otherwise}"
    return Comparison(candidate, where, float(not matches), 0.0, 0.0, "bits", note, part=part)
