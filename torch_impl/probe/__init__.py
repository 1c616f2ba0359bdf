"""What a proof of parity asks of the PyTorch twin: NumPy in, NumPy out.

:mod:`tinynet.backend.probing` says what each function is given and what it returns.
"""

from torch_impl.probe import operators
from torch_impl.probe.derivatives import backward, flow, gradients
from torch_impl.probe.environment import settings
from torch_impl.probe.layers import PRECISIONS, build, isolated, layer_names, trace
from torch_impl.probe.training import fed, update

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
