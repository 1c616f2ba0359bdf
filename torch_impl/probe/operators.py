"""Single operators of the PyTorch twin for an audit: NumPy in, NumPy out.

What the twin has a function or a class for is passed in; what it takes from the framework in the
midst of a line has a function here that makes the same call. Parameters and results are documented
by :class:`tinynet.backend.probing.Operators`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from tinynet.backend.values import Array, Arrays
from tinynet.recipe import Optimizer

from torch_impl.blocks import SqueezeExcite
from torch_impl.optim import OPTIMIZERS, Average
from torch_impl.predict import DEVICES, set_device
from torch_impl.probe.running import to_array

Gradients = Sequence[Sequence[Array]]


def dense(in_features: int, out_features: int) -> nn.Module:
    """Builds a layer like the classifier: (N, in_features) to (N, out_features)."""
    return nn.Linear(in_features, out_features)


def means_as_gates(channels: int) -> nn.Module:
    """Builds a squeeze-excite that scales each channel by its own mean: no layer is between."""
    layer = SqueezeExcite(channels, channels, "relu6")
    for name in ("conv_reduce", "act1", "conv_expand", "gate"):
        setattr(layer, name, nn.Identity())
    return layer


def log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Takes the logarithms of probabilities as the loss does: (N, K) to (N, K)."""
    return F.log_softmax(logits, 1)


def dropout(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Applies dropout as the net does: (N, C) times (N, C)."""
    return x * factors


def residual_sum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Joins a block's input and its branch as the block does."""
    return x + y


def run_layer(
    layer: nn.Module,
    state: Mapping[str, Array],
    x: Array,
    upstream: Array,
    training: bool = False,
    device: str = DEVICES[0],
) -> Arrays:
    """Runs a layer forward and back."""
    set_device(device)
    layer.to(device).train(training)
    tensors = layer.state_dict(keep_vars=True)
    with torch.no_grad():
        for key, values in state.items():
            tensors[key].copy_(torch.from_numpy(values))
    parameters = dict(layer.named_parameters())
    inputs = _tensor(x, device).requires_grad_()
    y = layer(inputs)
    found = torch.autograd.grad(y, [inputs, *parameters.values()], _tensor(upstream, device))
    gradients = dict(zip(["dx", *(f"d{key}" for key in parameters)], found, strict=True))
    statistics = {key: tensors[key] for key in state if training and key not in parameters}
    return _arrays({"y": y, **gradients, **statistics})


def run_function(
    function: Callable[..., torch.Tensor],
    arrays: Mapping[str, Array],
    upstream: Array,
    device: str = DEVICES[0],
) -> Arrays:
    """Runs a function of tensors forward and back."""
    set_device(device)
    tensors = {name: _tensor(values, device) for name, values in arrays.items()}
    variables = {name: t.requires_grad_() for name, t in tensors.items() if t.is_floating_point()}
    y = function(*tensors.values())
    found = torch.autograd.grad(y, list(variables.values()), _tensor(upstream, device))
    return _arrays({"y": y, **dict(zip((f"d{name}" for name in variables), found, strict=True))})


def run_optimizer(
    settings: Optimizer,
    parameters: Sequence[Array],
    slots: Mapping[str, Sequence[Array]],
    gradients: Gradients,
    learning_rate: float,
    device: str = DEVICES[0],
) -> dict[str, list[Array]]:
    """Takes steps with the twin's own optimizer."""
    set_device(device)
    trained = [_parameter(values, device) for values in parameters]
    optimizer = OPTIMIZERS[settings.kind](trained, [True] * len(trained), settings)
    for slot, arrays in slots.items():
        for tensor, values in zip(optimizer.slots[slot], arrays, strict=True):
            tensor.copy_(torch.from_numpy(values))
    for step in gradients:
        optimizer([_tensor(gradient, device) for gradient in step], learning_rate)
    return {
        name: [to_array(tensor) for tensor in tensors]
        for name, tensors in {"parameter": trained, **optimizer.slots}.items()
    }


def run_stock_optimizer(
    settings: Optimizer,
    parameters: Sequence[Array],
    gradients: Gradients,
    learning_rate: float,
    device: str = DEVICES[0],
) -> list[Array]:
    """Takes steps with the framework's own optimizer of that kind, without weight decay."""
    set_device(device)
    trained = [_parameter(values, device) for values in parameters]
    if settings.kind == "rmsprop":
        optimizer = torch.optim.RMSprop(
            trained, learning_rate, settings.decay, settings.eps, momentum=settings.momentum
        )
    else:
        optimizer = torch.optim.SGD(trained, learning_rate, settings.momentum)
    for step in gradients:
        for parameter, gradient in zip(trained, step, strict=True):
            parameter.grad = _tensor(gradient, device)
        optimizer.step()
    return [to_array(parameter) for parameter in trained]


def run_average(
    averages: Sequence[Array], tensors: Sequence[Array], share: float, device: str = DEVICES[0]
) -> list[Array]:
    """Moves averages a share of the way to tensors, with the twin's own average."""
    set_device(device)
    average = Average([_tensor(values, device) for values in averages])
    for tensor, values in zip(average.tensors, tensors, strict=True):
        tensor.copy_(torch.from_numpy(values))
    average(share)
    return [to_array(tensor) for tensor in average.averages]


def _tensor(values: Array, device: str) -> torch.Tensor:
    return torch.tensor(values, device=device)


def _parameter(values: Array, device: str) -> torch.Tensor:
    return nn.Parameter(_tensor(values, device))


def _arrays(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    return {name: to_array(tensor) for name, tensor in tensors.items()}
