"""Gradients in training mode: of a whole net, of every layer in it, and of each layer alone."""

from __future__ import annotations

from collections.abc import Mapping

import mindspore as ms
from mindspore import nn, ops

from tinynet.backend.values import Array, Backward, Flow, Gradients
from tinynet.net.manifest import mindspore_keys

from mindspore_impl.loss import cross_entropy
from mindspore_impl.model import Net, read_state
from mindspore_impl.predict import MODES
from mindspore_impl.probe.layers import trace
from mindspore_impl.probe.recording import Tap, replaced
from mindspore_impl.probe.running import running_in, to_array, to_tensor


def gradients(
    net: Net, images: Array, labels: Array, label_smoothing: float = 0.0, mode: str = MODES[0]
) -> Gradients:
    """Runs forward and back once in training mode; batch-norm statistics of ``net`` move."""
    keys = _canonical_keys(net)
    parameters = list(net.trainable_params())
    step = _GradientStep(net, parameters, label_smoothing).set_train(True)
    with running_in(net, mode):
        loss, found = step(to_tensor(images, net), ms.Tensor(labels, ms.int32))
    statistics = {key: value for key, value in read_state(net).items() if ".running_" in key}
    values = [to_array(gradient) for gradient in found[1]]
    named = {keys[p.name]: value for p, value in zip(parameters, values, strict=True)}
    return Gradients(float(loss.asnumpy()), to_array(found[0]), named, statistics)


def flow(
    net: Net, images: Array, labels: Array, label_smoothing: float = 0.0, mode: str = MODES[0]
) -> dict[str, Flow]:
    """Computes :func:`gradients`, and records each named layer's output and its gradient."""
    # The shapes in between depend on the batch, and only running the net tells them.
    shapes = trace(net, images)
    cells = dict(net.cells_and_names())
    taps = {name: Tap(name, cells[name], shapes[name]) for name in shapes}
    with replaced(net, taps):
        step = _GradientStep(net, [tap.tap for tap in taps.values()], label_smoothing)
        with running_in(net, mode):
            _, found = step.set_train(True)(to_tensor(images, net), ms.Tensor(labels, ms.int32))
    return {
        name: Flow(to_array(tap.given), to_array(tap.returned), to_array(gradient))
        for (name, tap), gradient in zip(taps.items(), found[1], strict=True)
    }


def backward(
    net: Net, given: Mapping[str, tuple[Array, Array]], mode: str = MODES[0]
) -> dict[str, Backward]:
    """Runs each named layer alone, in training mode, forward and then back."""
    keys = _canonical_keys(net)
    cells = dict(net.cells_and_names())
    layers = [cells[name] for name in given]
    parameters = [parameter for layer in layers for parameter in layer.trainable_params()]
    projection = _Projection(layers).set_train(True)
    inputs = [to_tensor(values, net) for values, _ in given.values()]
    upstream = [to_tensor(gradient, net) for _, gradient in given.values()]
    positions = tuple(range(len(inputs)))
    weights = ms.ParameterTuple(parameters) if parameters else None
    with running_in(net, mode):
        found = ops.grad(projection, positions, weights)(*inputs, *upstream)
    of_inputs, of_parameters = found if parameters else (found, ())
    if len(inputs) == 1 and not isinstance(of_inputs, tuple):
        of_inputs = (of_inputs,)
    named = {p.name: to_array(g) for p, g in zip(parameters, of_parameters, strict=True)}
    return {
        name: Backward(
            to_array(found), {keys[p.name]: named[p.name] for p in layer.trainable_params()}
        )
        for name, found, layer in zip(given, of_inputs, layers, strict=True)
    }


def _canonical_keys(net: Net) -> dict[str, str]:
    return {native: key for key, native in mindspore_keys(net.spec).items()}


class _Projection(nn.Cell):
    # Inputs, then upstream gradients: what this is differentiated to are vector-Jacobian products.
    def __init__(self, cells: list[nn.Cell]):
        super().__init__(auto_prefix=False)
        self.layers = nn.CellList(cells, auto_prefix=False)

    def construct(self, *arrays: ms.Tensor) -> ms.Tensor:
        count = len(arrays) // 2
        total = ms.Tensor(0.0, ms.float32)
        for index, layer in enumerate(self.layers):
            total = total + (layer(arrays[index]) * arrays[count + index]).sum()
        return total


class _Loss(nn.Cell):
    def __init__(self, net: Net, label_smoothing: float):
        super().__init__(auto_prefix=False)
        self.net = net
        self.label_smoothing = label_smoothing

    def construct(self, images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        return cross_entropy(self.net(images), labels, self.label_smoothing)


class _GradientStep(nn.Cell):
    def __init__(self, net: Net, parameters: list[ms.Parameter], label_smoothing: float):
        super().__init__(auto_prefix=False)
        self.loss = _Loss(net, label_smoothing)
        self.parameters = ms.ParameterTuple(parameters)

    def construct(self, images: ms.Tensor, labels: ms.Tensor) -> tuple[ms.Tensor, tuple]:
        return ops.value_and_grad(self.loss, 0, self.parameters)(images, labels)
