"""The losses that a training run's log tells."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from parity.results import Series


def read_curve(
    label: str, log: str | os.PathLike[str], after: int = 0, last: int | None = None
) -> Series:
    """The losses in the log of a run that told each step's.

    Args:
        label: what to call the run.
        log: its ``log.jsonl``.
        after: leave out the steps up to this one.
        last: leave out the steps behind this one.

    Raises:
        OSError: the file cannot be opened.
        ValueError: steps are missing.
    """
    lines = Path(log).read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    losses = {
        record["step"]: record["loss"]
        for record in records
        if record["kind"] == "train" and after < record["step"] <= (last or record["step"])
    }
    for expected, step in enumerate(losses, after + 1):
        if step != expected:
            raise ValueError(f"{os.fspath(log)}: tells of step {step}, expected step {expected}")
    return Series(label, tuple(losses.values()), after + 1)
