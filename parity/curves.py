"""A picture of training runs: their losses, and how far apart they are."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The report's palette; greys that can be read on its light and on its dark page.
COLOURS = ("#8494a8", "#1c64d8", "#c9630a", "#0a8577")
_INK, _GRID = "#7b8694", "#8494a855"


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """One run's loss at each step that its log tells, in the order of steps."""

    label: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


def read_curve(
    label: str, log: str | os.PathLike[str], first: int = 0, last: int | None = None
) -> Curve:
    """The losses in a run's log.

    Args:
        label: what to call the run.
        log: its ``log.jsonl``.
        first: leave out the steps up to this one.
        last: leave out the steps behind this one.

    Raises:
        OSError: the file cannot be opened.
    """
    lines = Path(log).read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    points = [
        (record["step"], record["loss"])
        for record in records
        if record["kind"] == "train" and first < record["step"] <= (last or record["step"])
    ]
    return Curve(label, tuple(step for step, _ in points), tuple(loss for _, loss in points))


def draw_curves(reference: Curve, parts: Sequence[Curve]) -> str:
    """Draws parts of a run against an uninterrupted one, as SVG.

    The upper panel has the losses, the lower one how far each part is from the reference, on a
    logarithmic scale; where there is no difference at all it has no point.

    Args:
        reference: the uninterrupted run.
        parts: of the other one, in their order.
    """
    # Imported here: slow to import, and needed for nothing else.
    plt: Any = importlib.import_module("matplotlib.pyplot")
    style = {
        "svg.fonttype": "none", "svg.hashsalt": "curves", "font.size": 11, "text.color": _INK,
        "axes.labelcolor": _INK, "axes.edgecolor": _GRID, "xtick.color": _INK,
        "ytick.color": _INK, "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    truth = dict(zip(reference.steps, reference.losses, strict=True))
    with plt.rc_context(style):
        figure, (upper, lower) = plt.subplots(
            2, 1, figsize=(10.5, 5.6), sharex=True, height_ratios=(3, 2), layout="constrained"
        )
        upper.plot(
            reference.steps, reference.losses, color=COLOURS[0], linewidth=4, alpha=0.5,
            label=reference.label,
        )  # fmt: skip
        for part, colour in zip(parts, COLOURS[1:], strict=False):
            upper.plot(part.steps, part.losses, color=colour, linewidth=1.1, label=part.label)
            # A logarithm has no zero: where nothing differs there is no point.
            apart = {
                step: abs(loss - truth[step])
                for step, loss in zip(part.steps, part.losses, strict=True)
                if loss != truth[step]
            }
            lower.plot(list(apart), list(apart.values()), ".", color=colour, markersize=3)
        for panel in (upper, lower):
            panel.grid(color=_GRID, linewidth=0.6)
            for part in parts[1:]:
                panel.axvline(part.steps[0] - 0.5, color=_INK, linewidth=1, linestyle=":")
        upper.set_ylabel("training loss")
        upper.legend(frameon=False)
        lower.set_yscale("log")
        lower.set_ylabel("difference of losses")
        lower.set_xlabel("step")
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    svg = target.getvalue()
    return svg[svg.index("<svg") :]
