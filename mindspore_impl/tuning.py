"""What makes the MindSpore twin fast on CPUs, beside its mathematics.

MindSpore reads its environment when it is imported, so it is not imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mindspore as ms


def tune_process() -> None:
    """Caps oneDNN's instructions and quiets MindSpore, unless the environment says otherwise.

    On hosts with AVX-512 oneDNN falls into a reference kernel for 3x3 and depthwise convolutions,
    4 to 5 times slower over a whole training step; it asks before the first convolution. MindSpore
    warns about its own deprecated internals, which only the variable set before its import stops;
    errors still show.
    """
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    os.environ.setdefault("GLOG_v", "3")


def scale_by_rows(x: ms.Tensor, gates_of: Callable[[ms.Tensor], ms.Tensor]) -> ms.Tensor:
    """Scales channels by gates computed from their means: (N, C, H, W) to the same shape.

    The CPU's kernels take means of rows, and multiply by what has been spread out already, several
    times as fast as over two axes.

    Args:
        x: (N, C, H, W).
        gates_of: means (N, C, 1, 1) to gates of that shape.
    """
    rows = x.reshape(-1, x.shape[2] * x.shape[3])
    gates = gates_of(rows.mean(1).reshape(-1, x.shape[1], 1, 1))
    return (rows * gates.reshape(-1, 1).broadcast_to(rows.shape)).reshape(x.shape)
