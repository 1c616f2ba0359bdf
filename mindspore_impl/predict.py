"""Inference in MindSpore: NumPy pixels in, NumPy logits out."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from numpy.typing import NDArray

from tinynet.manifest import State
from tinynet.spec import Spec

from mindspore_impl.model import TinyNet
from mindspore_impl.modes import MODES, running

DEVICES = ("cpu", "gpu", "ascend")


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
        if device not in DEVICES:
            raise ValueError(f"device is {device!r}, expected one of {', '.join(DEVICES)}")
        try:
            ms.set_device({"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}[device])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"device {device} cannot be used: {_first_line(error)}") from None
        self.net = TinyNet(spec, state).set_train(False)
        self.mode = mode
        self.batch_size = 0

    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """Logits: (N, C, H, W) normalised pixels to (N, num_classes), both float32."""
        # Graph mode compiles anew for a new batch size, seconds for the last, smaller batch.
        self.batch_size = max(self.batch_size, len(images))
        missing = self.batch_size - len(images)
        padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
        with running(self.mode):
            return self.net(ms.Tensor(padded)).asnumpy()[: len(images)]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
