"""Inference in PyTorch: NumPy pixels in, NumPy logits out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray

from tinynet.net.folding import deployed
from tinynet.net.manifest import State
from tinynet.spec import Spec

from torch_impl.model import make_net, write_state

DEVICES = ("cpu", "cuda")
MODES = ("eager",)


@contextmanager
def running(mode: str) -> Iterator[None]:
    """Runs what is inside in one of :data:`MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
    yield


class Predictor:
    """A net ready to answer, in evaluation mode. Its batch norms are folded."""

    def __init__(self, spec: Spec, state: State, device: str = DEVICES[0], mode: str = MODES[-1]):
        set_device(device)
        self.spec = spec
        self.net = make_net(*deployed(spec, state)).eval().to(device)
        # Documented, but not in its types.
        self.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.device = device
        self.mode = mode

    def write(self, state: State) -> None:
        """Answers with another state of the same spec from now on."""
        write_state(self.net, deployed(self.spec, state)[1])

    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """Returns logits: (N, C, H, W) normalised pixels to (N, num_classes), both float32."""
        pixels = torch.from_numpy(images)
        with torch.inference_mode(), running(self.mode), _without_tf32():
            return self.net(pixels.to(self.device, memory_format=torch.channels_last)).cpu().numpy()


def set_device(device: str) -> None:
    """Chooses this process's device, on which float32 is float32 from now on."""
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
    # By default CUDA convolves float32 with ten bits of it (TF32).
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def _without_tf32() -> Iterator[None]:
    # A training step in TF32 may evaluate.
    cudnn: Any = torch.backends.cudnn  # whose attributes PyTorch's types do not know
    matmul = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
