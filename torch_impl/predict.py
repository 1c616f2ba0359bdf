"""Inference in PyTorch: NumPy pixels in, NumPy logits out."""

from __future__ import annotations

import os
from typing import Any

import torch
from numpy.typing import NDArray

from tinynet.manifest import State
from tinynet.spec import Spec

from torch_impl.model import make_net
from torch_impl.modes import MODES, running

DEVICES = ("cpu", "cuda")


class Predictor:
    """A net ready to answer, in evaluation mode.

    Args:
        spec: what to build.
        state: canonical state.
        device: one of :data:`DEVICES`.
        mode: one of :data:`MODES`.

    Raises:
        StateError: the state does not fit the spec.
        ValueError: no such device here.
    """

    def __init__(self, spec: Spec, state: State, device: str = DEVICES[0], mode: str = MODES[-1]):
        set_device(device)
        self.net = make_net(spec, state).eval().to(device)
        self.device = device
        self.mode = mode

    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """Logits: (N, C, H, W) normalised pixels to (N, num_classes), both float32."""
        with torch.inference_mode(), running(self.mode):
            return self.net(torch.from_numpy(images).to(self.device)).cpu().numpy()


def set_device(device: str) -> None:
    """Chooses the device that this process computes on.

    Args:
        device: one of :data:`DEVICES`.

    Raises:
        ValueError: no such device here.
    """
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}, expected one of {', '.join(DEVICES)}")
    try:
        if device == "cuda":
            torch.cuda.init()
            # Started by torchrun, the processes of a machine have a card each.
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"device {device} cannot be used: {reason}") from None
