"""What a proof of parity asks of the MindSpore twin: NumPy in, NumPy out.

:mod:`tinynet.backend.probing` says what each function is given and what it returns.
"""

from mindspore_impl.probe import operators
from mindspore_impl.probe.derivatives import backward, flow, gradients
from mindspore_impl.probe.environment import settings
from mindspore_impl.probe.layers import PRECISIONS, build, isolated, layer_names, trace
from mindspore_impl.probe.training import fed, update

__all__ = [
    "PRECISIONS",
    "backward",
    "build",
    "fed",
    "flow",
    "gradients",
    "isolated",
    "layer_names",
    "operators",
    "settings",
    "trace",
    "update",
]
