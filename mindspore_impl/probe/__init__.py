"""What the parity layer asks of the MindSpore twin: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from tinynet.backend.values import Activation, Array, Backward, Flow, Gradients
from tinynet.checkpoints.training_state import TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.net.manifest import State, mindspore_keys
from tinynet.spec import Preprocessing, Spec

from mindspore_impl.data import Normalise, to_device
from mindspore_impl.distributed import join
from mindspore_impl.loss import cross_entropy
from mindspore_impl.model import Net, in_precision, make_net, read_state
from mindspore_impl.predict import DEVICES, MODES, running, set_device
from mindspore_impl.probe import operators as operators
from mindspore_impl.probe.environment import settings as settings
from mindspore_impl.step import TrainStep

# bfloat16 and float16 hold for convolutions and the classifier, as in training.
PRECISIONS = ("float32", "bfloat16", "float16")

# A probe reads back all it computes; PyNative's queue would only cost, twice the time in all.
ms.runtime.launch_blocking()


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
    in_precision(net, precision)
    if exact_gates:
        for _, parent in list(net.cells_and_names()):
            for name, child in list(parent.name_cells().items()):
                if isinstance(child, nn.SiLU | nn.Sigmoid):
                    setattr(parent, name, _InFloat64(child))
    return net


def layer_names(net: Net) -> list[str]:
    """Names of the layers a trace records: every cell but containers and identities."""
    passed_over = (type(net), nn.SequentialCell, nn.Identity)
    layers = [(name, cell) for name, cell in net.cells_and_names() if _is_layer(name)]
    return [name for name, cell in layers if type(cell) not in passed_over]


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
        def record(cell: nn.Cell, inputs: tuple[ms.Tensor], output: ms.Tensor) -> None:
            recorded[name] = Activation(_numpy(inputs[0]), _numpy(output))

        return record

    names = set(layer_names(net))
    hooks = [
        cell.register_forward_hook(recorder(name))
        for name, cell in net.cells_and_names()
        if name in names
    ]
    try:
        with running("pynative"):
            net.set_train(False)(_tensor(images))
    finally:
        for hook in hooks:
            hook.remove()
    return recorded if mode == "pynative" else _trace_graph(net, images, recorded)


def isolated(net: Net, inputs: Mapping[str, Array], mode: str = MODES[0]) -> dict[str, Array]:
    """Runs each named layer alone, in evaluation mode, on the input given for it.

    Args:
        net: from :func:`build`.
        inputs: layer name -> its input.
        mode: one of :data:`MODES`.

    Returns:
        Layer name -> output.
    """
    cells = dict(net.cells_and_names())
    # One cell that runs them all compiles three times faster than each for itself.
    side_by_side = _SideBySide([cells[name] for name in inputs]).set_train(False)
    with running(mode):
        outputs = side_by_side(*(_tensor(given) for given in inputs.values()))
        return {name: _numpy(output) for name, output in zip(inputs, outputs, strict=True)}


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
    canonical = {native: key for key, native in mindspore_keys(net.spec).items()}
    parameters = list(net.trainable_params())
    step = _GradientStep(net, parameters, label_smoothing).set_train(True)
    with running(mode):
        loss, found = step(_tensor(images), ms.Tensor(labels, ms.int32))
    statistics = {key: value for key, value in read_state(net).items() if ".running_" in key}
    named = zip(parameters, found[1], strict=True)
    return Gradients(
        float(loss.asnumpy()),
        _numpy(found[0]),
        {canonical[parameter.name]: _numpy(gradient) for parameter, gradient in named},
        statistics,
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
    # The shapes in between depend on the batch, and only running the net tells them.
    shapes = trace(net, images)
    cells = dict(net.cells_and_names())
    taps = {name: _Tap(name, cells[name], shapes[name]) for name in shapes}
    with _replaced(net, taps):
        step = _GradientStep(net, [tap.tap for tap in taps.values()], label_smoothing)
        with running(mode):
            _, found = step.set_train(True)(_tensor(images), ms.Tensor(labels, ms.int32))
    return {
        name: Flow(_numpy(tap.given), _numpy(tap.returned), _numpy(gradient))
        for (name, tap), gradient in zip(taps.items(), found[1], strict=True)
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
    canonical = {native: key for key, native in mindspore_keys(net.spec).items()}
    cells = dict(net.cells_and_names())
    layers = [cells[name] for name in given]
    own = [list(layer.trainable_params()) for layer in layers]
    parameters = [parameter for layer in own for parameter in layer]
    projection = _Projection(layers).set_train(True)
    inputs = [_tensor(values) for values, _ in given.values()]
    upstream = [_tensor(gradient) for _, gradient in given.values()]
    positions = tuple(range(len(inputs)))
    with running(mode):
        if parameters:
            gradient = ops.grad(projection, positions, ms.ParameterTuple(parameters))
            of_inputs, of_parameters = gradient(*inputs, *upstream)
        else:
            of_inputs, of_parameters = ops.grad(projection, positions)(*inputs, *upstream), ()
    if len(inputs) == 1 and not isinstance(of_inputs, tuple):
        of_inputs = (of_inputs,)
    named = {
        canonical[parameter.name]: _numpy(found)
        for parameter, found in zip(parameters, of_parameters, strict=True)
    }
    return {
        name: Backward(_numpy(found), {canonical[p.name]: named[canonical[p.name]] for p in layer})
        for name, found, layer in zip(given, of_inputs, own, strict=True)
    }


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
    step = TrainStep(state, join(device), precision=precision, compiled=False)
    for own, rate, decay in zip(gradients, learning_rates, ema_decays, strict=True):
        tensors = tuple(_tensor(own[key]) for key in step.trained_keys)
        step.optimizer(tensors, ms.Tensor(rate, ms.float32))
        if step.average is not None:
            step.average(ms.Tensor(1.0 - decay, ms.float32))
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


class _InFloat64(nn.Cell):
    def __init__(self, cell: nn.Cell):
        super().__init__()
        self.module = cell

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.module(x.astype(ms.float64)).astype(x.dtype)


class _Recorder(nn.Cell):
    # Graph mode runs no hooks, but it does assign to parameters.
    def __init__(self, name: str, cell: nn.Cell, shapes: Activation):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.given = _buffer(f"{name}.given", shapes.input)
        self.returned = _buffer(f"{name}.returned", shapes.output)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        y = self.cell(x)
        ops.assign(self.given, x)
        ops.assign(self.returned, y)
        return y


class _Tap(_Recorder):
    # A gradient with respect to zeros that are added is one with respect to the sum.
    def __init__(self, name: str, cell: nn.Cell, shapes: Activation):
        super().__init__(name, cell, shapes)
        zeros = _tensor(np.zeros_like(shapes.output))
        self.tap = ms.Parameter(zeros, name=f"{name}.tap")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return super().construct(x) + self.tap


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


class _SideBySide(nn.Cell):
    def __init__(self, cells: list[nn.Cell]):
        super().__init__(auto_prefix=False)
        self.layers = nn.CellList(cells, auto_prefix=False)

    def construct(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, ...]:
        outputs = ()
        for layer, given in zip(self.layers, inputs):  # noqa: B905 (graph mode's zip)
            outputs += (layer(given),)
        return outputs


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


def _trace_graph(
    net: Net, images: Array, shapes: Mapping[str, Activation]
) -> dict[str, Activation]:
    cells = dict(net.cells_and_names())
    recorders = {name: _Recorder(name, cells[name], shapes[name]) for name in shapes}
    with _replaced(net, recorders), running("graph"):
        net.set_train(False)(_tensor(images))
    return {
        name: Activation(_numpy(recorder.given), _numpy(recorder.returned))
        for name, recorder in recorders.items()
    }


@contextmanager
def _replaced(net: Net, replacements: Mapping[str, nn.Cell]) -> Iterator[None]:
    cells = dict(net.cells_and_names())
    # Putting a cell into another renames its parameters; names are what states go by.
    named = [(parameter, parameter.name) for parameter in net.get_parameters()]
    for name, replacement in replacements.items():
        known = {id(parameter) for parameter in cells[name].get_parameters()}
        own = (p for p in replacement.get_parameters() if id(p) not in known)
        named += [(parameter, parameter.name) for parameter in own]

    def replace(by: Mapping[str, nn.Cell]) -> None:
        for path, replacement in by.items():
            parent, _, name = path.rpartition(".")
            if isinstance(cells[parent], nn.SequentialCell):
                cells[parent][int(name)] = replacement
            else:
                setattr(cells[parent], name, replacement)
        for parameter, name in named:
            parameter.name = name

    replace(replacements)
    try:
        yield
    finally:
        replace({name: cells[name] for name in replacements})


def _buffer(name: str, like: Array) -> ms.Parameter:
    return ms.Parameter(_tensor(np.zeros_like(like)), name=name, requires_grad=False)


def _is_layer(name: str) -> bool:
    # What _InFloat64 wraps is no layer of its own.
    return not name.endswith(".module")


def _tensor(values: Array) -> ms.Tensor:
    return ms.Tensor(values, ms.float32)


def _numpy(tensor: ms.Tensor) -> Array:
    return np.array(tensor.asnumpy())
