"""Layers in evaluation mode: a net's, each in its place or alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from tinynet.backend.values import Activation, Array, Arrays
from tinynet.net.manifest import State
from tinynet.spec import Spec

from torch_impl.model import Net, in_precision, make_net
from torch_impl.predict import DEVICES, MODES, set_device
from torch_impl.probe.recording import hooked
from torch_impl.probe.running import running_in, to_array, to_tensor

# float64 is for a reference. tf32 is what CUDA makes of float32 where it may; bfloat16 and float16
# hold for convolutions and the classifier, as in training.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float64")


def build(
    spec: Spec,
    state: State,
    precision: str = PRECISIONS[0],
    exact_gates: bool = False,
    device: str = DEVICES[0],
) -> Net:
    """Builds a net to probe."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    set_device(device)
    net = make_net(spec, state)
    net.to(device, torch.float64 if precision == "float64" else torch.float32)
    # A module takes any attribute; its types know of tensors and modules only.
    net.precision = precision  # pyright: ignore[reportArgumentType]
    in_precision(net, precision)
    if exact_gates:
        for parent in list(net.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.SiLU | nn.Sigmoid):
                    setattr(parent, name, _InFloat64(child))
    return net


def layer_names(net: Net) -> list[str]:
    """Names of the layers a trace records: every module but containers and identities."""
    passed_over = (type(net), nn.Sequential, nn.Identity)
    # What _InFloat64 wraps is not a layer of its own.
    layers = [item for item in net.named_modules() if not item[0].endswith(".module")]
    return [name for name, module in layers if type(module) not in passed_over]


def trace(net: Net, images: Array, mode: str = MODES[0]) -> dict[str, Activation]:
    """Runs the net in evaluation mode and records every named layer."""
    recorded: dict[str, Activation] = {}

    def record(name: str, given: torch.Tensor, returned: torch.Tensor) -> None:
        recorded[name] = Activation(to_array(given), to_array(returned))

    with hooked(net, layer_names(net), record), torch.no_grad(), running_in(net, mode):
        net.eval()(to_tensor(images, net))
    return recorded


def isolated(net: Net, inputs: Mapping[str, Array], mode: str = MODES[0]) -> Arrays:
    """Runs each named layer alone, in evaluation mode, on the input given for it."""
    net.eval()
    with torch.no_grad(), running_in(net, mode):
        return {
            name: to_array(net.get_submodule(name)(to_tensor(given, net)))
            for name, given in inputs.items()
        }


class _InFloat64(nn.Module):
    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x.double()).to(x.dtype)
