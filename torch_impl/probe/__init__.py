"""What the parity layer asks of the PyTorch twin: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from tinynet.backend.values import Activation, Array, Backward, Flow, Gradients
from tinynet.checkpoints.training_state import TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.net.manifest import State
from tinynet.spec import Preprocessing, Spec

from torch_impl.data import Normalise, to_device
from torch_impl.distributed import join
from torch_impl.loss import cross_entropy
from torch_impl.model import Net, in_precision, make_net, read_state
from torch_impl.predict import DEVICES, MODES, running, set_device
from torch_impl.probe import operators as operators
from torch_impl.probe.environment import settings as settings
from torch_impl.step import TrainStep

# float64 is for a judge. tf32 is what CUDA makes of float32 where it may; bfloat16 and float16
# hold for convolutions and the classifier, as in training.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float64")


def build(
    spec: Spec,
    state: State,
    precision: str = PRECISIONS[0],
    exact_gates: bool = False,
    device: str = DEVICES[0],
) -> Net:
    """Builds a net to probe.

    Args:
        spec: what to build.
        state: canonical state.
        precision: one of :data:`PRECISIONS`.
        exact_gates: compute sigmoid and SiLU in float64 and round the result.
        device: one of the ``DEVICES`` of predict.

    Raises:
        StateError: the state does not fit the spec.
        ValueError: no such precision, or no such device here.
    """
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
    layers = [(name, module) for name, module in net.named_modules() if _is_layer(name)]
    return [name for name, module in layers if type(module) not in passed_over]


def trace(net: Net, images: Array, mode: str = MODES[0]) -> dict[str, Activation]:
    """Runs the net in evaluation mode and records every named layer.

    Args:
        net: from :func:`build`.
        images: (N, C, H, W).
        mode: one of :data:`MODES`.

    Returns:
        Layer name -> activation, in the order in which the layers finish; the classifier is
        last and holds the logits.
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
        with torch.no_grad(), _running(net, mode):
            net.eval()(_tensor(images, net))
    finally:
        for hook in hooks:
            hook.remove()
    return recorded


def isolated(net: Net, inputs: Mapping[str, Array], mode: str = MODES[0]) -> dict[str, Array]:
    """Runs each named layer alone, in evaluation mode, on the input given for it.

    Args:
        net: from :func:`build`.
        inputs: layer name -> its input.
        mode: one of :data:`MODES`.

    Returns:
        Layer name -> output.
    """
    net.eval()
    with torch.no_grad(), _running(net, mode):
        return {
            name: _numpy(net.get_submodule(name)(_tensor(given, net)))
            for name, given in inputs.items()
        }


def gradients(
    net: Net,
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
    with _running(net, mode):
        loss = _loss(net, x, labels, label_smoothing)
        # What the loss does not depend on at all has a gradient of zero.
        found = torch.autograd.grad(loss, [x, *parameters.values()], materialize_grads=True)
    statistics = {key: value for key, value in read_state(net).items() if ".running_" in key}
    values = [_numpy(gradient) for gradient in found]
    return Gradients(
        loss.item(), values[0], dict(zip(parameters, values[1:], strict=True)), statistics
    )


def flow(
    net: Net,
    images: Array,
    labels: Array,
    label_smoothing: float = 0.0,
    mode: str = MODES[0],
) -> dict[str, Flow]:
    """Like :func:`gradients`, but records every named layer, and its output's gradient.

    Args:
        net: from :func:`build`.
        images: (N, C, H, W).
        labels: (N,), integers.
        label_smoothing: from 0 to 1.
        mode: one of :data:`MODES`.

    Returns:
        Layer name -> flow, in the order in which the layers finish.
    """
    recorded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def recorder(name: str) -> Any:
        def record(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            if output.requires_grad:
                output.retain_grad()
            recorded[name] = inputs[0], output

        return record

    modules = dict(net.named_modules())
    hooks = [modules[name].register_forward_hook(recorder(name)) for name in layer_names(net)]
    try:
        net.train()
        with _running(net, mode):
            _loss(net, _tensor(images, net), labels, label_smoothing).backward()
    finally:
        for hook in hooks:
            hook.remove()
    net.zero_grad()
    return {
        name: Flow(_numpy(given), _numpy(returned), _numpy(_gradient_of(returned)))
        for name, (given, returned) in recorded.items()
    }


def backward(
    net: Net, given: Mapping[str, tuple[Array, Array]], mode: str = MODES[0]
) -> dict[str, Backward]:
    """Runs each named layer alone, in training mode, forward and then back.

    Args:
        net: from :func:`build`; the batch-norm statistics of the layers move.
        given: layer name -> its input, and the gradient of its output; no layer may lie within
            another one.
        mode: one of :data:`MODES`.

    Returns:
        Layer name -> gradients.
    """
    net.train()
    found: dict[str, Backward] = {}
    for name, (values, upstream) in given.items():
        layer = net.get_submodule(name)
        x = _tensor(values, net).requires_grad_()
        parameters = dict(layer.named_parameters(prefix=name))
        with _running(net, mode):
            y = layer(x)
            upstream = torch.tensor(upstream, dtype=y.dtype, device=y.device)
            gradients = torch.autograd.grad(
                y, [x, *parameters.values()], upstream, materialize_grads=True
            )
        arrays = [_numpy(gradient) for gradient in gradients]
        found[name] = Backward(arrays[0], dict(zip(parameters, arrays[1:], strict=True)))
    return found


def update(
    state: TrainingState,
    gradients: Sequence[State],
    learning_rates: Sequence[float],
    ema_decays: Sequence[float],
    precision: str = PRECISIONS[0],
    device: str = DEVICES[0],
) -> TrainingState:
    """Takes optimizer steps on gradients that are given, each followed by the average.

    Args:
        state: where to start.
        gradients: of each step, trained key -> gradient.
        learning_rates: of each step.
        ema_decays: of each step.
        precision: "float32", or "float64" where the framework has it.
        device: one of the ``DEVICES`` of predict.

    Returns:
        Weights, averages and slots behind the last step, with the progress of ``state``.
    """
    step = TrainStep(state, join(device), precision=precision)
    kind = step.trained[0].dtype
    for own, rate, decay in zip(gradients, learning_rates, ema_decays, strict=True):
        tensors = [torch.tensor(own[key], dtype=kind, device=device) for key in step.trained_keys]
        step.optimizer(tensors, rate)
        if step.average is not None:
            step.average(1.0 - decay)
    return step.read(state.progress)


def fed(batch: TrainingBatch, preprocessing: Preprocessing) -> dict[str, Array]:
    """What training feeds the net of a batch.

    Args:
        batch: from the loader.
        preprocessing: the spec's.

    Returns:
        "pixels", normalised, float32 (N, C, H, W), and beside them what the batch has of "labels",
        "dropout" and "drop_path".
    """
    tensors = to_device(batch, join(DEVICES[0]).device)
    found = tensors._asdict() | {"pixels": Normalise(preprocessing)(tensors.images)}
    del found["images"]
    return {name: _numpy(tensor) for name, tensor in found.items() if tensor is not None}


class _InFloat64(nn.Module):
    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x.double()).to(x.dtype)


@contextmanager
def _running(net: Net, mode: str) -> Iterator[None]:
    # On CUDA PyTorch convolves float32 with the ten bits of TF32 unless it is told not to.
    cudnn: Any = torch.backends.cudnn  # whose attributes PyTorch's types do not know
    matmul = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = net.precision == "tf32"
    try:
        with running(mode):
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def _loss(net: Net, images: torch.Tensor, labels: Array, label_smoothing: float) -> torch.Tensor:
    logits = net(images).to(next(net.parameters()).dtype)
    return cross_entropy(logits, torch.from_numpy(labels).to(logits.device), label_smoothing)


def _gradient_of(output: torch.Tensor) -> torch.Tensor:
    # None where the loss does not depend on it at all.
    return torch.zeros_like(output) if output.grad is None else output.grad


def _is_layer(name: str) -> bool:
    # What _InFloat64 wraps is no layer of its own.
    return not name.endswith(".module")


def _tensor(values: Array, net: Net) -> torch.Tensor:
    weight = next(net.parameters())
    return torch.tensor(values, dtype=weight.dtype, device=weight.device)


def _numpy(tensor: torch.Tensor) -> Array:
    # NumPy has no bfloat16; float32 holds it and float16 exactly.
    tensor = tensor.detach().cpu()
    return np.array((tensor if tensor.dtype == torch.float64 else tensor.float()).numpy())
