"""The ways in which the PyTorch twin can run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

MODES = ("eager",)


@contextmanager
def running(mode: str) -> Iterator[None]:
    """Runs what is inside in one of :data:`MODES`.

    Raises:
        ValueError: another mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
    yield


def in_precision(net: nn.Module, precision: str) -> None:
    """Lets the convolutions and the classifier of a net compute in a lower precision.

    Args:
        net: on its device already; weights and batch norms stay float32.
        precision: "bfloat16" or "float16"; any other changes nothing.
    """
    if precision in ("bfloat16", "float16"):
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                cast = torch.autocast(layer.weight.device.type, getattr(torch, precision))
                layer.forward = cast(layer.forward)
