"""Gradients in training mode: of a whole net, of every layer in it, and of each layer alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tinynet.backend.values import Array, Backward, Flow, Gradients

from torch_impl.loss import cross_entropy
from torch_impl.model import Net, read_state
from torch_impl.predict import MODES
from torch_impl.probe.layers import layer_names
from torch_impl.probe.recording import hooked
from torch_impl.probe.running import running_in, to_array, to_tensor


def gradients(
    net: Net, images: Array, labels: Array, label_smoothing: float = 0.0, mode: str = MODES[0]
) -> Gradients:
    """Runs forward and back once in training mode; batch-norm statistics of ``net`` move."""
    x = to_tensor(images, net).requires_grad_()
    net.train()
    parameters = dict(net.named_parameters())
    with running_in(net, mode):
        loss = _loss(net, x, labels, label_smoothing)
        # What the loss does not depend on at all has a gradient of zero.
        found = torch.autograd.grad(loss, [x, *parameters.values()], materialize_grads=True)
    statistics = {key: value for key, value in read_state(net).items() if ".running_" in key}
    values = [to_array(gradient) for gradient in found]
    named = dict(zip(parameters, values[1:], strict=True))
    return Gradients(loss.item(), values[0], named, statistics)


def flow(
    net: Net, images: Array, labels: Array, label_smoothing: float = 0.0, mode: str = MODES[0]
) -> dict[str, Flow]:
    """Computes :func:`gradients`, and records each named layer's output and its gradient."""
    recorded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def record(name: str, given: torch.Tensor, returned: torch.Tensor) -> None:
        if returned.requires_grad:
            returned.retain_grad()
        recorded[name] = given, returned

    net.train()
    with hooked(net, layer_names(net), record), running_in(net, mode):
        _loss(net, to_tensor(images, net), labels, label_smoothing).backward()
    net.zero_grad()
    return {
        name: Flow(to_array(given), to_array(returned), to_array(_gradient_of(returned)))
        for name, (given, returned) in recorded.items()
    }


def backward(
    net: Net, given: Mapping[str, tuple[Array, Array]], mode: str = MODES[0]
) -> dict[str, Backward]:
    """Runs each named layer alone, in training mode, forward and then back."""
    net.train()
    found: dict[str, Backward] = {}
    for name, (values, upstream) in given.items():
        layer = net.get_submodule(name)
        x = to_tensor(values, net).requires_grad_()
        parameters = dict(layer.named_parameters(prefix=name))
        with running_in(net, mode):
            y = layer(x)
            dy = torch.tensor(upstream, dtype=y.dtype, device=y.device)
            inputs = [x, *parameters.values()]
            gradients = torch.autograd.grad(y, inputs, dy, materialize_grads=True)
        arrays = [to_array(gradient) for gradient in gradients]
        found[name] = Backward(arrays[0], dict(zip(parameters, arrays[1:], strict=True)))
    return found


def _loss(net: Net, images: torch.Tensor, labels: Array, label_smoothing: float) -> torch.Tensor:
    logits = net(images).to(next(net.parameters()).dtype)
    return cross_entropy(logits, torch.from_numpy(labels).to(logits.device), label_smoothing)


def _gradient_of(output: torch.Tensor) -> torch.Tensor:
    # None where the loss does not depend on it at all.
    return torch.zeros_like(output) if output.grad is None else output.grad
