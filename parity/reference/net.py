"""A whole net by its mathematical definition: what every named layer of a spec must compute.

The twins agree with each other or they do not; this says which of them is right. It is made of
:mod:`parity.reference.operations`, float64 and no framework, and takes from the spec only what a
person reads in it: strides, paddings and skips are worked out here once more, so that a mistake in
``Spec.blocks()``, which both twins are built from, is seen too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinynet.net.manifest import State
from tinynet.spec import Padding, Spec

from parity.reference import operations

Array = NDArray[Any]

NET = ""  # the name of the whole net among its layers
HEAD = ("conv_head", "bn2", "act2")
# The layers of a block, one behind the other, by the block's kind.
BLOCKS = {
    "ds": ("conv_dw", "bn1", "act1", "se", "conv_pw", "bn2"),
    "ir": ("conv_pw", "bn1", "act1", "conv_dw", "bn2", "act2", "se", "conv_pwl", "bn3"),
    "basic": ("conv1", "bn1", "act1", "conv2", "bn2", "downsample", "act2"),
    "bottleneck": (
        "conv1", "bn1", "act1", "conv2", "bn2", "act2", "conv3", "bn3", "downsample", "act3",
    ),
}  # fmt: skip
# The convolution of a block that strides. Source: torchvision's ResNet (version 1.5) for the last.
STRIDED = {"ds": "conv_dw", "ir": "conv_dw", "basic": "conv1", "bottleneck": "conv2"}
SQUEEZE_EXCITE = ("conv_reduce", "act1", "conv_expand", "gate")
DOWNSAMPLE = {"0": "conv", "1": "bn"}
# What a layer without layers in it is, by how the last part of its name begins.
KINDS = ("conv", "bn", "act", "gate", "maxpool", "global_pool", "classifier", "fc")


class Row(NamedTuple):
    """What is to know of a block beside its weights."""

    kind: str
    stride: int
    has_skip: bool
    has_excite: bool


class Layer(NamedTuple):
    """What a layer is given and must return, and the gradient of what it returns (0 if none)."""

    input: Array
    output: Array
    gradient: Array


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What running a layer, or the whole net, must give.

    Attributes:
        output: of the layer.
        layers: every named layer in it, and itself, in the order in which they finish.
        input: the gradient for the layer's input; 0 where nothing flowed back.
        parameters: the gradient of every tensor that something flowed back to, by canonical key.
        statistics: running means and variances behind a run in training, by canonical key.
    """

    output: Array
    layers: dict[str, Layer]
    input: Array
    parameters: State
    statistics: State


class Definition:
    """A net by its definition.

    Args:
        spec: the net.
        state: canonical state; float64 is taken as it is.
    """

    def __init__(self, spec: Spec, state: Mapping[str, Array]):
        self.spec = spec
        self.state = dict(state)
        self.rows = rows(spec)

    def children(self, name: str) -> tuple[str, ...]:
        """The layers that a layer is made of, one behind the other; of :data:`NET` too."""
        if name == NET:
            stem = (self.spec.names.stem, "bn1", "act1")
            pool = () if self.spec.stem.pool is None else ("maxpool",)
            head = () if self.spec.head is None else HEAD
            end = ("global_pool", self.spec.names.classifier)
            return self._unfolded((*stem, *pool, *self.rows, *head, *end))
        if name in self.rows:
            row = self.rows[name]
            absent = {"se"} if not row.has_excite else set[str]()
            absent |= {"downsample"} if row.has_skip else set()
            leaves = tuple(leaf for leaf in BLOCKS[row.kind] if leaf not in absent)
        else:
            leaves = {"se": SQUEEZE_EXCITE, "downsample": tuple(DOWNSAMPLE)}.get(_leaf(name), ())
        return self._unfolded(tuple(f"{name}.{leaf}" for leaf in leaves))

    def _unfolded(self, names: tuple[str, ...]) -> tuple[str, ...]:
        # Without the batch norms, where they are folded into the convolutions.
        if self.spec.batch_norm is not None:
            return names
        return tuple(name for name in names if kind(name) != "bn")

    @property
    def names(self) -> list[str]:
        """Every layer, those within a layer before it, in the order in which they finish."""
        return [name for child in self.children(NET) for name in self._within(child)]

    def _within(self, name: str) -> list[str]:
        inner = [found for child in self.children(name) for found in self._within(child)]
        return [*inner, name]

    def run(
        self,
        name: str,
        x: Array,
        upstream: Callable[[Array], Array] | None = None,
        training: bool = False,
        dropout: Array | None = None,
        drop_path: Array | None = None,
    ) -> Run:
        """Runs a layer forward, and back where there is an upstream gradient.

        Args:
            name: the layer, :data:`NET` for the whole net.
            x: its input, (N, C, H, W), or (N, C) for the classifier.
            upstream: gives, for the output, the gradient with respect to it.
            training: whether batch norm takes the batch's own statistics.
            dropout: (N, feature channels), as in :class:`tinynet.data.masks.Masks`.
            drop_path: (N, blocks), likewise.
        """
        return _Pass(self, training, dropout, drop_path).run(name, x, upstream)


def kind(name: str) -> str:
    """Which of :data:`KINDS` a layer is; empty for one that has layers in it."""
    parent, _, leaf = name.rpartition(".")
    if _leaf(parent) == "downsample":
        return DOWNSAMPLE[leaf]
    return next((kind for kind in KINDS if leaf.startswith(kind)), "")


def rows(spec: Spec) -> dict[str, Row]:
    """What each block must be, by its key, in the order data flows.

    Source: only the first block of a stage strides; a block has a skip where it changes neither
    the size nor the channels (Sandler et al., MobileNetV2, arXiv 1801.04381, section 3.3).
    """
    found: dict[str, Row] = {}
    channels = spec.stem.out_channels
    for index, stage in enumerate(spec.stages):
        for place in range(stage.repeats):
            stride = stage.stride if place == 0 else 1
            skip = stride == 1 and channels == stage.out_channels
            key = f"{spec.names.stage_key(index)}.{place}"
            found[key] = Row(stage.kind, stride, skip, bool(stage.se_ratio))
            channels = stage.out_channels
    return found


@dataclasses.dataclass(slots=True, eq=False)
class _Node:
    # A value on the way, its gradient, and how that goes on to what the value was made of.
    value: Array
    back: Callable[[Array], None]
    gradient: Any = 0.0


class _Pass:
    def __init__(
        self,
        definition: Definition,
        training: bool,
        dropout: Array | None,
        drop_path: Array | None,
    ):
        self.net = definition
        self.training = training
        self.dropout = dropout
        self.drop_path: dict[str, Array] = {}
        if drop_path is not None:
            columns = drop_path.T[:, :, None, None, None]
            self.drop_path = dict(zip(definition.rows, columns, strict=True))
        self.tape: list[_Node] = []
        self.layers: dict[str, tuple[_Node, _Node]] = {}
        self.parameters: State = {}
        self.statistics: State = {}

    def run(self, name: str, x: Array, upstream: Callable[[Array], Array] | None) -> Run:
        start = self._node(x.astype(np.float64), lambda dy: None)
        end = self._layer(name, start)
        if upstream is not None:
            end.gradient = upstream(end.value)
            for node in reversed(self.tape):
                node.back(np.broadcast_to(node.gradient, node.value.shape))
        layers = {
            key: Layer(given.value, returned.value, _gradient(returned))
            for key, (given, returned) in self.layers.items()
        }
        return Run(end.value, layers, _gradient(start), self.parameters, self.statistics)

    def _layer(self, name: str, x: _Node) -> _Node:
        y = self._compute(name, x)
        self.layers[name] = (x, y)
        return y

    def _compute(self, name: str, x: _Node) -> _Node:
        leaf = _leaf(name)
        if name == NET:
            return self._net(x)
        if name in self.net.rows:
            return self._block(name, x)
        if leaf == "se":
            return self._squeeze_excite(name, x)
        if leaf == "downsample":
            return self._chain(name, x)
        match kind(name):
            case "global_pool":
                return self._mean(x, keepdims=False)
            case "classifier" | "fc":
                return self._dense(name, x)
            case "conv":
                return self._conv2d(name, x)
            case "bn":
                return self._batch_norm(name, x)
            case "maxpool":
                return self._max_pool(x)
            case found:
                activation = self.net.spec.activation
                return self._elementwise("sigmoid" if found == "gate" else activation, x)

    def _net(self, x: _Node) -> _Node:
        for name in self.net.children(NET):
            if name == self.net.spec.names.classifier and self.dropout is not None:
                x = self._scale(x, self._constant(self.dropout))
            x = self._layer(name, x)
        return x

    def _block(self, name: str, x: _Node) -> _Node:
        if self.net.spec.is_resnet:
            return self._resnet_block(name, x)
        y = self._chain(name, x)
        return self._sum(x, self._dropped(name, y)) if self.net.rows[name].has_skip else y

    def _resnet_block(self, name: str, x: _Node) -> _Node:
        *branch, last = self.net.children(name)
        shortcut, y = x, x
        for child in branch:
            if _leaf(child) == "downsample":
                shortcut = self._layer(child, x)
            else:
                y = self._layer(child, y)
        return self._layer(last, self._sum(shortcut, self._dropped(name, y)))

    def _dropped(self, name: str, y: _Node) -> _Node:
        if name not in self.drop_path:
            return y
        return self._scale(y, self._constant(self.drop_path[name]))

    def _chain(self, name: str, x: _Node) -> _Node:
        for child in self.net.children(name):
            x = self._layer(child, x)
        return x

    def _squeeze_excite(self, name: str, x: _Node) -> _Node:
        gates = self._mean(x, keepdims=True)
        for child in self.net.children(name):
            gates = self._layer(child, gates)
        return self._scale(x, gates)

    def _conv2d(self, name: str, x: _Node) -> _Node:
        weight, bias = self.net.state[f"{name}.weight"], self.net.state.get(f"{name}.bias")
        stride = self._stride(name)
        sides = padding(self.net.spec.padding, weight.shape[-1], stride, x.value.shape[2:])
        settings = stride, sides, x.value.shape[1] // weight.shape[1]

        def back(dy: Array) -> None:
            found = operations.conv2d_vjp(dy, x.value, weight, *settings)
            x.gradient = x.gradient + found.x
            self.parameters[f"{name}.weight"] = found.weight
            if bias is not None:
                self.parameters[f"{name}.bias"] = found.bias

        return self._node(operations.conv2d(x.value, weight, bias, *settings), back)

    def _stride(self, name: str) -> int:
        if name == self.net.spec.names.stem:
            return self.net.spec.stem.stride
        parent, _, leaf = name.rpartition(".")
        if _leaf(parent) == "downsample":
            return self.net.rows[parent.rpartition(".")[0]].stride
        row = self.net.rows.get(parent)
        return row.stride if row and leaf == STRIDED[row.kind] else 1

    def _batch_norm(self, name: str, x: _Node) -> _Node:
        leaves = ("weight", "bias", "running_mean", "running_var")
        weight, bias, mean, variance = (self.net.state[f"{name}.{leaf}"] for leaf in leaves)
        settings = self.net.spec.batch_norm
        if settings is None:
            raise ValueError(f"{self.net.spec.name} has no batch norm")
        if self.training:
            found = operations.batch_norm_training(
                x.value, weight, bias, mean, variance, settings.eps, settings.momentum
            )
            self.statistics[f"{name}.running_mean"] = found.running_mean
            self.statistics[f"{name}.running_var"] = found.running_variance
            value = found.y
        else:
            value = operations.batch_norm(x.value, weight, bias, mean, variance, settings.eps)

        def back(dy: Array) -> None:
            if self.training:
                found = operations.batch_norm_training_vjp(dy, x.value, weight, settings.eps)
            else:
                found = operations.batch_norm_vjp(dy, x.value, weight, mean, variance, settings.eps)
            x.gradient = x.gradient + found.x
            self.parameters[f"{name}.weight"] = found.weight
            self.parameters[f"{name}.bias"] = found.bias

        return self._node(value, back)

    def _dense(self, name: str, x: _Node) -> _Node:
        weight, bias = self.net.state[f"{name}.weight"], self.net.state[f"{name}.bias"]

        def back(dy: Array) -> None:
            found = operations.dense_vjp(dy, x.value, weight)
            x.gradient = x.gradient + found.x
            self.parameters[f"{name}.weight"] = found.weight
            self.parameters[f"{name}.bias"] = found.bias

        return self._node(operations.dense(x.value, weight, bias), back)

    def _elementwise(self, name: str, x: _Node) -> _Node:
        function, vjp = _ELEMENTWISE[name]

        def back(dy: Array) -> None:
            x.gradient = x.gradient + vjp(dy, x.value)

        return self._node(function(x.value), back)

    def _mean(self, x: _Node, keepdims: bool) -> _Node:
        def back(dy: Array) -> None:
            x.gradient = x.gradient + operations.mean_vjp(dy, x.value)

        return self._node(operations.mean(x.value, keepdims=keepdims), back)

    def _max_pool(self, x: _Node) -> _Node:
        pool = self.net.spec.stem.pool
        if pool is None:
            raise ValueError(f"{self.net.spec.name} has no max pool")
        sides = padding("symmetric", pool.kernel_size, pool.stride, x.value.shape[2:])
        settings = pool.kernel_size, pool.stride, sides

        def back(dy: Array) -> None:
            x.gradient = x.gradient + operations.max_pool_vjp(dy, x.value, *settings)

        return self._node(operations.max_pool(x.value, *settings), back)

    def _scale(self, x: _Node, factors: _Node) -> _Node:
        def back(dy: Array) -> None:
            of_x, of_factors = operations.scale_vjp(dy, x.value, factors.value)
            x.gradient = x.gradient + of_x
            factors.gradient = factors.gradient + of_factors

        return self._node(operations.scale(x.value, factors.value), back)

    def _sum(self, x: _Node, y: _Node) -> _Node:
        def back(dy: Array) -> None:
            x.gradient = x.gradient + dy
            y.gradient = y.gradient + dy

        return self._node(operations.residual_sum(x.value, y.value), back)

    def _constant(self, value: Array) -> _Node:
        return self._node(value.astype(np.float64), lambda dy: None)

    def _node(self, value: Array, back: Callable[[Array], None]) -> _Node:
        node = _Node(value, back)
        self.tape.append(node)
        return node


_ELEMENTWISE = {
    "silu": (operations.silu, operations.silu_vjp),
    "relu6": (operations.relu6, operations.relu6_vjp),
    "relu": (operations.relu, operations.relu_vjp),
    "sigmoid": (operations.sigmoid, operations.sigmoid_vjp),
}


def _gradient(node: _Node) -> Array:
    return np.array(np.broadcast_to(node.gradient, node.value.shape))


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def padding(mode: str, kernel_size: int, stride: int, size: tuple[int, ...]) -> Padding:
    """The zeros at (top, bottom, left, right) of an image of (height, width) pixels.

    Source: "same" is TensorFlow's: so much that ceil(n / stride) pixels come out, the odd one
    behind.
    """
    if mode == "symmetric":
        side = kernel_size // 2
        return side, side, side, side
    top, left = (
        max(0, (math.ceil(pixels / stride) - 1) * stride + kernel_size - pixels) for pixels in size
    )
    return top // 2, top - top // 2, left // 2, left - left // 2
