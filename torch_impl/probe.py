"""What the parity layer asks of the PyTorch twin: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tinynet.manifest import State
from tinynet.spec import Spec

from torch_impl.loss import cross_entropy
from torch_impl.model import TinyNet
from torch_impl.modes import MODES, running
from torch_impl.state import read_state

Array = NDArray[Any]

DTYPES = ("float32", "float64")


class Activation(NamedTuple):
    """What one named layer was given and what it returned."""

    input: Array
    output: Array


class Gradients(NamedTuple):
    """One training step's evidence: loss, gradients, and batch-norm statistics behind it.

    ``parameters`` has every trained tensor by canonical key, ``statistics`` every running mean
    and variance.
    """

    loss: float
    input: Array
    parameters: dict[str, Array]
    statistics: dict[str, Array]


def build(spec: Spec, state: State, dtype: str = DTYPES[0], exact_gates: bool = False) -> TinyNet:
    """Builds a net to probe.

    Args:
        spec: what to build.
        state: canonical state.
        dtype: one of :data:`DTYPES`; everything is computed in it.
        exact_gates: compute sigmoid and SiLU in float64 and round the result.
    """
    net = TinyNet(spec, state).to(getattr(torch, dtype))
    if exact_gates:
        for parent in list(net.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.SiLU | nn.Sigmoid):
                    setattr(parent, name, _InFloat64(child))
    return net


def layer_names(net: TinyNet) -> list[str]:
    """Names of the layers a trace records: every module but containers and identities."""
    passed_over = (TinyNet, nn.Sequential, nn.Identity)
    layers = [(name, module) for name, module in net.named_modules() if _is_layer(name)]
    return [name for name, module in layers if not isinstance(module, passed_over)]


def trace(net: TinyNet, images: Array, mode: str = MODES[0]) -> dict[str, Activation]:
    """Runs the net in evaluation mode and records every named layer.

    Args:
        net: from :func:`build`.
        images: (N, C, H, W).
        mode: one of :data:`MODES`.

    Returns:
        Layer name -> activation, in the order in which the layers finish; "classifier" is last
        and holds the logits.
    """
    recorded: dict[str, Activation] = {}

    def recorder(name: str) -> Any:
        def record(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            recorded[name] = Activation(_numpy(inputs[0]), _numpy(output))

        return record

    names = set(layer_names(net))
    hooks = [
        module.register_forward_hook(recorder(name))
        for name, module in net.named_modules()
        if name in names
    ]
    try:
        with torch.no_grad(), running(mode):
            net.eval()(_tensor(images, net))
    finally:
        for hook in hooks:
            hook.remove()
    return recorded


def isolated(net: TinyNet, inputs: Mapping[str, Array], mode: str = MODES[0]) -> dict[str, Array]:
    """Runs each named layer alone, in evaluation mode, on the input given for it.

    Args:
        net: from :func:`build`.
        inputs: layer name -> its input.
        mode: one of :data:`MODES`.

    Returns:
        Layer name -> output.
    """
    net.eval()
    with torch.no_grad(), running(mode):
        return {
            name: _numpy(net.get_submodule(name)(_tensor(given, net)))
            for name, given in inputs.items()
        }


def gradients(
    net: TinyNet,
    images: Array,
    labels: Array,
    label_smoothing: float = 0.0,
    mode: str = MODES[0],
) -> Gradients:
    """Runs forward and backward once in training mode; batch-norm statistics of ``net`` move.

    Args:
        net: from :func:`build`.
        images: (N, C, H, W).
        labels: (N,), integers.
        label_smoothing: from 0 to 1.
        mode: one of :data:`MODES`.
    """
    x = _tensor(images, net).requires_grad_()
    net.train()
    parameters = dict(net.named_parameters())
    with running(mode):
        loss = cross_entropy(net(x), torch.from_numpy(labels), label_smoothing)
        found = torch.autograd.grad(loss, [x, *parameters.values()])
    statistics = {key: value for key, value in read_state(net).items() if ".running_" in key}
    values = [_numpy(gradient) for gradient in found]
    return Gradients(
        loss.item(), values[0], dict(zip(parameters, values[1:], strict=True)), statistics
    )


class _InFloat64(nn.Module):
    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x.double()).to(x.dtype)


def _is_layer(name: str) -> bool:
    # What _InFloat64 wraps is no layer of its own.
    return not name.endswith(".module")


def _tensor(values: Array, net: TinyNet) -> torch.Tensor:
    return torch.tensor(values, dtype=net.classifier.weight.dtype)


def _numpy(tensor: torch.Tensor) -> Array:
    return np.array(tensor.detach().numpy())
