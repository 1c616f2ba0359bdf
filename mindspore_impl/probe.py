"""What the parity layer asks of the MindSpore twin: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from numpy.typing import NDArray

from tinynet.manifest import State, mindspore_keys
from tinynet.spec import Spec

from mindspore_impl.loss import cross_entropy
from mindspore_impl.model import TinyNet
from mindspore_impl.modes import MODES, running
from mindspore_impl.state import read_state

Array = NDArray[Any]

DTYPES = ("float32",)

# A probe reads back all it computes; PyNative's queue would only cost, twice the time in all.
ms.runtime.launch_blocking()


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
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    net = TinyNet(spec, state)
    if exact_gates:
        for _, parent in list(net.cells_and_names()):
            for name, child in list(parent.name_cells().items()):
                if isinstance(child, nn.SiLU | nn.Sigmoid):
                    setattr(parent, name, _InFloat64(child))
    return net


def layer_names(net: TinyNet) -> list[str]:
    """Names of the layers a trace records: every cell but containers and identities."""
    passed_over = (TinyNet, nn.SequentialCell, nn.Identity)
    layers = [(name, cell) for name, cell in net.cells_and_names() if _is_layer(name)]
    return [name for name, cell in layers if not isinstance(cell, passed_over)]


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


def isolated(net: TinyNet, inputs: Mapping[str, Array], mode: str = MODES[0]) -> dict[str, Array]:
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
    def __init__(self, net: TinyNet, label_smoothing: float):
        super().__init__(auto_prefix=False)
        self.net = net
        self.label_smoothing = label_smoothing

    def construct(self, images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        return cross_entropy(self.net(images), labels, self.label_smoothing)


class _GradientStep(nn.Cell):
    def __init__(self, net: TinyNet, parameters: list[ms.Parameter], label_smoothing: float):
        super().__init__(auto_prefix=False)
        self.loss = _Loss(net, label_smoothing)
        self.parameters = ms.ParameterTuple(parameters)

    def construct(self, images: ms.Tensor, labels: ms.Tensor) -> tuple[ms.Tensor, tuple]:
        return ops.value_and_grad(self.loss, 0, self.parameters)(images, labels)


def _trace_graph(
    net: TinyNet, images: Array, shapes: Mapping[str, Activation]
) -> dict[str, Activation]:
    cells = dict(net.cells_and_names())
    recorders = {name: _Recorder(name, cells[name], shapes[name]) for name in shapes}
    # Putting a cell into another renames its parameters; names are what states go by.
    named = [(parameter, parameter.name) for parameter in net.get_parameters()]
    for recorder in recorders.values():
        named += [(buffer, buffer.name) for buffer in (recorder.given, recorder.returned)]
    _replace_cells(cells, recorders)
    for parameter, name in named:
        parameter.name = name
    try:
        with running("graph"):
            net.set_train(False)(_tensor(images))
    finally:
        _replace_cells(cells, {name: cells[name] for name in shapes})
        for parameter, name in named:
            parameter.name = name
    return {
        name: Activation(_numpy(recorders[name].given), _numpy(recorders[name].returned))
        for name in shapes
    }


def _replace_cells(cells: Mapping[str, nn.Cell], replacements: Mapping[str, nn.Cell]) -> None:
    for path, replacement in replacements.items():
        parent, _, name = path.rpartition(".")
        if isinstance(cells[parent], nn.SequentialCell):
            cells[parent][int(name)] = replacement
        else:
            setattr(cells[parent], name, replacement)


def _buffer(name: str, like: Array) -> ms.Parameter:
    return ms.Parameter(_tensor(np.zeros_like(like)), name=name, requires_grad=False)


def _is_layer(name: str) -> bool:
    # What _InFloat64 wraps is no layer of its own.
    return not name.endswith(".module")


def _tensor(values: Array) -> ms.Tensor:
    return ms.Tensor(values, ms.float32)


def _numpy(tensor: ms.Tensor) -> Array:
    return np.array(tensor.asnumpy())
