"""Inference in MindSpore: NumPy pixels in, NumPy logits out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore.device_context import ascend, gpu
from numpy.typing import NDArray

from tinynet.net.folding import deployed
from tinynet.net.manifest import State
from tinynet.spec import Spec

from mindspore_impl.model import make_net, write_state

DEVICES = ("cpu", "gpu", "ascend")
MODES = ("pynative", "graph")


@contextmanager
def running(mode: str) -> Iterator[None]:
    """Runs what is inside in one of :data:`MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=before)


class Predictor:
    """A net ready to answer, in evaluation mode. Its batch norms are folded."""

    def __init__(self, spec: Spec, state: State, device: str = DEVICES[0], mode: str = MODES[-1]):
        set_device(device)
        self.spec = spec
        self.net = make_net(*deployed(spec, state)).set_train(False)
        self.mode = mode
        self.batch_size = 0

    def write(self, state: State) -> None:
        """Answers with another state of the same spec from now on."""
        write_state(self.net, deployed(self.spec, state)[1])

    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """Returns logits: (N, C, H, W) normalised pixels to (N, num_classes), both float32."""
        # Graph mode compiles again for a new batch size, seconds for the last, smaller batch.
        self.batch_size = max(self.batch_size, len(images))
        count, missing = len(images), self.batch_size - len(images)
        if missing:
            filling = np.zeros((missing, *images.shape[1:]), images.dtype)
            images = np.concatenate([images, filling])
        with running(self.mode):
            return self.net(ms.Tensor(images)).asnumpy()[:count]


def set_device(device: str) -> None:
    """Chooses this process's device, on which float32 is float32 from now on."""
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}, expected one of {', '.join(DEVICES)}")
    target = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}[device]
    # Once an operation has run, MindSpore refuses the call even for the device it is on.
    if ms.get_context("device_target") != target:
        try:
            ms.set_device(target)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"device {device} cannot be used: {reason}") from None
    # By default GPUs convolve float32 with ten bits of it (TF32), Ascend with eleven (HF32).
    if device == "gpu":
        gpu.op_precision.conv_allow_tf32(False)
        gpu.op_precision.matmul_allow_tf32(False)
    elif device == "ascend":
        ascend.op_precision.conv_allow_hf32(False)
        ascend.op_precision.matmul_allow_hf32(False)
