"""Layers in evaluation mode: a net's, each in its place or alone."""

from __future__ import annotations

from collections.abc import Mapping

import mindspore as ms
from mindspore import nn

from tinynet.backend.values import Activation, Array, Arrays
from tinynet.net.manifest import State
from tinynet.spec import Spec

from mindspore_impl.model import Net, in_precision, make_net
from mindspore_impl.predict import DEVICES, MODES, set_device
from mindspore_impl.probe.recording import Recorder, hooked, replaced
from mindspore_impl.probe.running import running_in, to_array, to_tensor

# bfloat16 and float16 hold for convolutions and the classifier, as in training.
PRECISIONS = ("float32", "bfloat16", "float16")


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
    # What _InFloat64 wraps is not a layer of its own.
    layers = [item for item in net.cells_and_names() if not item[0].endswith(".module")]
    return [name for name, cell in layers if type(cell) not in passed_over]


def trace(net: Net, images: Array, mode: str = MODES[0]) -> dict[str, Activation]:
    """Runs the net in evaluation mode and records every named layer."""
    recorded: dict[str, Activation] = {}

    def record(name: str, given: ms.Tensor, returned: ms.Tensor) -> None:
        recorded[name] = Activation(to_array(given), to_array(returned))

    with hooked(net, layer_names(net), record), running_in(net, "pynative"):
        net.set_train(False)(to_tensor(images, net))
    if mode == "pynative":
        return recorded
    # The shapes are those of PyNative mode, which runs hooks.
    cells = dict(net.cells_and_names())
    recorders = {name: Recorder(name, cells[name], shapes) for name, shapes in recorded.items()}
    with replaced(net, recorders), running_in(net, mode):
        net.set_train(False)(to_tensor(images, net))
    return {
        name: Activation(to_array(recorder.given), to_array(recorder.returned))
        for name, recorder in recorders.items()
    }


def isolated(net: Net, inputs: Mapping[str, Array], mode: str = MODES[0]) -> Arrays:
    """Runs each named layer alone, in evaluation mode, on the input given for it."""
    cells = dict(net.cells_and_names())
    # One cell that runs them all compiles three times faster than each for itself.
    together = _Together([cells[name] for name in inputs]).set_train(False)
    with running_in(net, mode):
        outputs = together(*(to_tensor(given, net) for given in inputs.values()))
        return {name: to_array(output) for name, output in zip(inputs, outputs, strict=True)}


class _InFloat64(nn.Cell):
    def __init__(self, cell: nn.Cell):
        super().__init__()
        self.module = cell

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.module(x.astype(ms.float64)).astype(x.dtype)


class _Together(nn.Cell):
    def __init__(self, cells: list[nn.Cell]):
        super().__init__(auto_prefix=False)
        self.layers = nn.CellList(cells, auto_prefix=False)

    def construct(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, ...]:
        outputs = ()
        for layer, given in zip(self.layers, inputs):  # noqa: B905 (graph mode's zip)
            outputs += (layer(given),)
        return outputs
