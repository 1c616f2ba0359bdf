"""Single operators of the MindSpore twin for an audit: NumPy in, NumPy out.

What the twin has a function or a class for is passed in; what it takes from the framework in the
midst of a line has a function here that makes the same call. Parameters and results are documented
by :class:`tinynet.backend.probing.Operators`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import mindspore as ms
from mindspore import nn, ops

from tinynet.backend.values import Array, Arrays
from tinynet.net.manifest import CANONICAL_OF_MINDSPORE
from tinynet.recipe import Optimizer

from mindspore_impl.blocks import SqueezeExcite
from mindspore_impl.optim import OPTIMIZERS, Average
from mindspore_impl.predict import DEVICES, set_device
from mindspore_impl.probe.running import to_array

Gradients = Sequence[Sequence[Array]]


def dense(in_features: int, out_features: int) -> nn.Cell:
    """Builds a layer like the classifier: (N, in_features) to (N, out_features)."""
    return nn.Dense(in_features, out_features, weight_init="zeros", bias_init="zeros")


def means_as_gates(channels: int) -> nn.Cell:
    """Builds a squeeze-excite that scales each channel by its own mean: no layer is between."""
    layer = SqueezeExcite(channels, channels, "relu6")
    for name in ("conv_reduce", "act1", "conv_expand", "gate"):
        setattr(layer, name, nn.Identity())
    return layer


def log_softmax(logits: ms.Tensor) -> ms.Tensor:
    """Takes the logarithms of probabilities as the loss does: (N, K) to (N, K)."""
    return ops.log_softmax(logits, 1)


def dropout(x: ms.Tensor, factors: ms.Tensor) -> ms.Tensor:
    """Applies dropout as the net does: (N, C) times (N, C)."""
    return x * factors


def residual_sum(x: ms.Tensor, y: ms.Tensor) -> ms.Tensor:
    """Joins a block's input and its branch as the block does."""
    return x + y


def run_layer(
    layer: nn.Cell,
    state: Mapping[str, Array],
    x: Array,
    upstream: Array,
    training: bool = False,
    device: str = DEVICES[0],
) -> Arrays:
    """Runs a layer forward and back."""
    _compute_on(device)
    layer.set_train(training)
    tensors = {_canonical(name): tensor for name, tensor in layer.parameters_and_names()}
    for key, values in state.items():
        tensors[key].set_data(ms.Tensor(values))
    parameters = {key: tensor for key, tensor in tensors.items() if tensor.requires_grad}
    y, (dx,), found = _differentiated(
        layer, [ms.Tensor(x)], (0,), list(parameters.values()), upstream
    )
    gradients = dict(zip((f"d{key}" for key in parameters), found, strict=True))
    statistics = {key: tensors[key] for key in state if training and key not in parameters}
    return _arrays({"y": y, "dx": dx, **gradients, **statistics})


def run_function(
    function: Callable[..., ms.Tensor],
    arrays: Mapping[str, Array],
    upstream: Array,
    device: str = DEVICES[0],
) -> Arrays:
    """Runs a function of tensors forward and back."""
    _compute_on(device)
    tensors = [_tensor(values) for values in arrays.values()]
    variables = {name: i for i, name in enumerate(arrays) if tensors[i].dtype == ms.float32}
    y, found, _ = _differentiated(function, tensors, tuple(variables.values()), [], upstream)
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
    _compute_on(device)
    trained = _parameters(parameters)
    optimizer = OPTIMIZERS[settings.kind](trained, [True] * len(trained), settings)
    for slot, arrays in slots.items():
        for tensor, values in zip(optimizer.slots[slot], arrays, strict=True):
            tensor.set_data(ms.Tensor(values))
    for step in gradients:
        tensors = tuple(_tensor(gradient) for gradient in step)
        optimizer(tensors, ms.Tensor(learning_rate, ms.float32))
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
    _compute_on(device)
    trained = _parameters(parameters)
    if settings.kind == "rmsprop":
        optimizer = nn.RMSProp(
            trained, learning_rate, settings.decay, settings.momentum, settings.eps
        )
    else:
        optimizer = nn.SGD(trained, learning_rate, settings.momentum)
    for step in gradients:
        optimizer(tuple(_tensor(gradient) for gradient in step))
    return [to_array(parameter) for parameter in trained]


def run_average(
    averages: Sequence[Array], tensors: Sequence[Array], share: float, device: str = DEVICES[0]
) -> list[Array]:
    """Moves averages a share of the way to tensors, with the twin's own average."""
    _compute_on(device)
    average = Average(_parameters(averages))
    for tensor, values in zip(average.tensors, tensors, strict=True):
        tensor.set_data(ms.Tensor(values))
    average(ms.Tensor(share, ms.float32))
    return [to_array(tensor) for tensor in average.averages]


def _differentiated(
    function: Callable[..., ms.Tensor],
    tensors: Sequence[ms.Tensor],
    positions: tuple[int, ...],
    parameters: Sequence[ms.Parameter],
    upstream: Array,
) -> tuple[ms.Tensor, Sequence[ms.Tensor], Sequence[ms.Tensor]]:
    # The gradient of (y upstream).sum() is the vector-Jacobian product, bit for bit.
    dy = ms.Tensor(upstream, ms.float32)

    def projected(*arguments: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        y = function(*arguments)
        return (y * dy).sum(), y

    # Of a single argument MindSpore gives the gradient itself, of several a tuple.
    weights = ms.ParameterTuple(parameters) if parameters else None
    gradient = ops.value_and_grad(projected, positions, weights, has_aux=True)
    (_, y), found = gradient(*tensors)
    of_inputs, of_parameters = found if parameters else (found, ())
    if not isinstance(of_inputs, tuple):
        of_inputs = (of_inputs,)
    return y, of_inputs, of_parameters


def _compute_on(device: str) -> None:
    set_device(device)
    # Every result is read back at once; PyNative's queue would only cost.
    ms.runtime.launch_blocking()


def _canonical(name: str) -> str:
    path, dot, leaf = name.rpartition(".")
    return f"{path}{dot}{CANONICAL_OF_MINDSPORE.get(leaf, leaf)}"


def _tensor(values: Array) -> ms.Tensor:
    # Labels must be int32.
    return ms.Tensor(values, ms.float32 if values.dtype.kind == "f" else ms.int32)


def _parameters(arrays: Sequence[Array]) -> list[ms.Parameter]:
    return [ms.Parameter(ms.Tensor(a), name=f"tensor{i}") for i, a in enumerate(arrays)]


def _arrays(tensors: Mapping[str, ms.Tensor]) -> Arrays:
    return {name: to_array(tensor) for name, tensor in tensors.items()}
