"""How the layers of a net are recorded while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from tinynet.backend.values import Activation, Array

from mindspore_impl.model import Net


@contextmanager
def hooked(
    net: Net, names: list[str], record: Callable[[str, ms.Tensor, ms.Tensor], None]
) -> Iterator[None]:
    """Calls ``record`` with the name, input and output of each layer that runs inside."""

    def hook(name: str) -> Any:
        def called(cell: nn.Cell, inputs: tuple[ms.Tensor], output: ms.Tensor) -> None:
            record(name, inputs[0], output)

        return called

    cells = dict(net.cells_and_names())
    with ExitStack() as stack:
        for name in names:
            stack.callback(cells[name].register_forward_hook(hook(name)).remove)
        yield


class Recorder(nn.Cell):
    """A layer that keeps what it was given and returned, since graph mode runs no hooks.

    Args:
        name: of the layer.
        cell: the layer.
        shapes: arrays of the shapes of its input and output.
    """

    def __init__(self, name: str, cell: nn.Cell, shapes: Activation):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.given = _zeros(f"{name}.given", shapes.input, requires_grad=False)
        self.returned = _zeros(f"{name}.returned", shapes.output, requires_grad=False)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        y = self.cell(x)
        ops.assign(self.given, x)
        ops.assign(self.returned, y)
        return y


class Tap(Recorder):
    """A recorder whose output's gradient is that of its parameter ``tap``, zeros that are added."""

    def __init__(self, name: str, cell: nn.Cell, shapes: Activation):
        super().__init__(name, cell, shapes)
        self.tap = _zeros(f"{name}.tap", shapes.output, requires_grad=True)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return super().construct(x) + self.tap


@contextmanager
def replaced(net: Net, replacements: Mapping[str, nn.Cell]) -> Iterator[None]:
    """Puts other cells, by name, in the place of a net's, as long as the context lasts."""
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


def _zeros(name: str, like: Array, requires_grad: bool) -> ms.Parameter:
    zeros = ms.Tensor(np.zeros_like(like), ms.float32)
    return ms.Parameter(zeros, name=name, requires_grad=requires_grad)
