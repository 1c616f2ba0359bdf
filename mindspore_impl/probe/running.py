"""How a net runs that is probed, and arrays in and out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
import numpy as np

from tinynet.backend.values import Array

from mindspore_impl.model import Net
from mindspore_impl.predict import running


@contextmanager
def running_in(net: Net, mode: str) -> Iterator[None]:
    """Runs what is inside in one of the ``MODES`` of predict, in the precision of the net."""
    # All that is computed is read back; PyNative's queue would only cost, twice the time in all.
    ms.runtime.launch_blocking()
    with running(mode):
        yield


def to_tensor(values: Array, net: Net) -> ms.Tensor:
    """Makes an input for a net, in its precision."""
    return ms.Tensor(values, ms.float32)  # in a shorter one the layers round it themselves


def to_array(tensor: ms.Tensor) -> Array:
    """Copies a tensor."""
    return np.array(tensor.asnumpy())
