"""The ways in which the MindSpore twin can run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
from mindspore import nn

MODES = ("pynative", "graph")


@contextmanager
def running(mode: str) -> Iterator[None]:
    """Runs what is inside in one of :data:`MODES`.

    Raises:
        ValueError: another mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=before)


def in_precision(net: nn.Cell, precision: str) -> None:
    """Lets the convolutions and the classifier of a net compute in a lower precision.

    Args:
        net: on its device already; weights and batch norms stay float32.
        precision: "bfloat16" or "float16"; any other changes nothing.
    """
    if precision in ("bfloat16", "float16"):
        for _, cell in net.cells_and_names():
            if isinstance(cell, nn.Conv2d | nn.Dense):
                cell.to_float(getattr(ms, precision))
            elif isinstance(cell, nn.BatchNorm2d):
                cell.to_float(ms.float32)
