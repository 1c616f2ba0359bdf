"""The reference net: what every named layer of a spec must compute, in float64.

Where the twins disagree, this says which of them is right. It is made of
:mod:`parity.reference.operations` and :mod:`parity.reference.structure`, without a framework, and
takes from the spec only what a person reads in it, so that a mistake in ``Spec.blocks()``, which
both twins are built from, shows too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinynet.net.manifest import State
from tinynet.spec import Spec

from parity.reference import operations
from parity.reference.structure import (
    BLOCKS,
    DOWNSAMPLE,
    HEAD,
    NET,
    SQUEEZE_EXCITE,
    STRIDED,
    kind,
    leaf_of,
    padding,
    rows,
)

Array = NDArray[Any]


class Layer(NamedTuple):
    """A layer's input, its right output, and the gradient for that output (0 if none)."""

    input: Array
    output: Array
    gradient: Array


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The right results of running a layer, or the whole net.

    Attributes:
        output: of the layer.
        layers: every named layer in it, and itself, in the order in which they finish.
        input: the gradient for the layer's input; 0 where nothing flowed back.
        parameters: the gradient of every tensor that something flowed back to, by canonical key.
        statistics: running means and variances after a run in training, by canonical key.
    """

    output: Array
    layers: dict[str, Layer]
    input: Array
    parameters: State
    statistics: State


class ReferenceNet:
    """A net in float64, composed of :mod:`parity.reference.operations`.

    Args:
        spec: the net.
        state: canonical state; float64 stays float64.
    """

    def __init__(self, spec: Spec, state: Mapping[str, Array]):
        self.spec = spec
        self.state = dict(state)
        self.rows = rows(spec)

    def children(self, name: str) -> tuple[str, ...]:
        """Returns the layers that a layer, or :data:`NET`, is made of, in order."""
        if name == NET:
            stem = (self.spec.names.stem, "bn1", "act1")
            pool = () if self.spec.stem.pool is None else ("maxpool",)
            head = () if self.spec.head is None else HEAD
            end = ("global_pool", self.spec.names.classifier)
            return self._unfolded((*stem, *pool, *self.rows, *head, *end))
        if name in self.rows:
            row = self.rows[name]
            present = {"se": row.has_excite, "downsample": not row.has_skip}
            leaves = tuple(leaf for leaf in BLOCKS[row.kind] if present.get(leaf, True))
        else:
            leaves = {"se": SQUEEZE_EXCITE, "downsample": tuple(DOWNSAMPLE)}.get(leaf_of(name), ())
        return self._unfolded(tuple(f"{name}.{leaf}" for leaf in leaves))

    def _unfolded(self, names: tuple[str, ...]) -> tuple[str, ...]:
        # Without the batch norms, where they are folded into the convolutions.
        if self.spec.batch_norm is not None:
            return names
        return tuple(name for name in names if kind(name) != "bn")

    @property
    def names(self) -> list[str]:
        """Every layer in the order in which they finish: layers within a layer come before it."""
        return [name for child in self.children(NET) for name in self._within(child)]

    def _within(self, name: str) -> list[str]:
        return [*(found for child in self.children(name) for found in self._within(child)), name]

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


@dataclasses.dataclass(slots=True, eq=False)
class _Node:
    """A value, its gradient, and how that flows on to what the value was computed from.

    ``parents`` are other nodes, or keys of parameters; ``vjp`` gives a gradient for each of them.
    """

    value: Array
    parents: tuple[_Node | str, ...] = ()
    vjp: Callable[[Array], tuple[Array, ...]] = lambda dy: ()
    gradient: Any = 0.0


class _Pass:
    def __init__(
        self, net: ReferenceNet, training: bool, dropout: Array | None, drop_path: Array | None
    ):
        self.net = net
        self.training = training
        self.dropout = dropout
        self.drop_path: dict[str, Array] = {}
        if drop_path is not None:
            columns = drop_path.T[:, :, None, None, None].astype(np.float64)
            self.drop_path = dict(zip(net.rows, columns, strict=True))
        self.tape: list[_Node] = []
        self.layers: dict[str, tuple[_Node, _Node]] = {}
        self.parameters: State = {}
        self.statistics: State = {}

    def run(self, name: str, x: Array, upstream: Callable[[Array], Array] | None) -> Run:
        start = _Node(x.astype(np.float64))
        end = self._layer(name, start)
        if upstream is not None:
            end.gradient = upstream(end.value)
            for node in reversed(self.tape):
                self._flow_back(node)
        layers = {
            key: Layer(given.value, returned.value, _gradient(returned))
            for key, (given, returned) in self.layers.items()
        }
        return Run(end.value, layers, _gradient(start), self.parameters, self.statistics)

    def _flow_back(self, node: _Node) -> None:
        gradients = node.vjp(np.broadcast_to(node.gradient, node.value.shape))
        for parent, gradient in zip(node.parents, gradients, strict=False):
            if isinstance(parent, str):
                self.parameters[parent] = gradient
            else:
                parent.gradient = parent.gradient + gradient

    def _node(
        self, value: Array, vjp: Callable[[Array], tuple[Array, ...]], *parents: _Node | str
    ) -> _Node:
        node = _Node(value, parents, vjp)
        self.tape.append(node)
        return node

    def _layer(self, name: str, x: _Node) -> _Node:
        y = self._compute(name, x)
        self.layers[name] = (x, y)
        return y

    def _compute(self, name: str, x: _Node) -> _Node:
        if name == NET:
            return self._net(x)
        if name in self.net.rows:
            return self._block(name, x)
        functions = {
            "se": self._squeeze_excite,
            "downsample": self._chain,
            "global_pool": self._global_mean,
            "classifier": self._dense,
            "fc": self._dense,
            "conv": self._conv2d,
            "bn": self._batch_norm,
            "maxpool": self._max_pool,
        }
        return functions.get(kind(name) or leaf_of(name), self._elementwise)(name, x)

    def _net(self, x: _Node) -> _Node:
        for name in self.net.children(NET):
            if name == self.net.spec.names.classifier and self.dropout is not None:
                x = self._scale(x, _Node(self.dropout.astype(np.float64)))
            x = self._layer(name, x)
        return x

    def _block(self, name: str, x: _Node) -> _Node:
        if not self.net.spec.is_resnet:
            y = self._chain(name, x)
            return self._sum(x, self._dropped(name, y)) if self.net.rows[name].has_skip else y
        *branch, last = self.net.children(name)
        shortcut, y = x, x
        for child in branch:
            if leaf_of(child) == "downsample":
                shortcut = self._layer(child, x)
            else:
                y = self._layer(child, y)
        return self._layer(last, self._sum(shortcut, self._dropped(name, y)))

    def _dropped(self, name: str, y: _Node) -> _Node:
        return self._scale(y, _Node(self.drop_path[name])) if name in self.drop_path else y

    def _chain(self, name: str, x: _Node) -> _Node:
        for child in self.net.children(name):
            x = self._layer(child, x)
        return x

    def _squeeze_excite(self, name: str, x: _Node) -> _Node:
        return self._scale(x, self._chain(name, self._mean(x, keepdims=True)))

    def _conv2d(self, name: str, x: _Node) -> _Node:
        key, bias_key = f"{name}.weight", f"{name}.bias"
        weight, bias = self.net.state[key], self.net.state.get(bias_key)
        stride = self._stride(name)
        sides = padding(self.net.spec.padding, weight.shape[-1], stride, x.value.shape[2:])
        settings = stride, sides, x.value.shape[1] // weight.shape[1]
        return self._node(
            operations.conv2d(x.value, weight, bias, *settings),
            lambda dy: operations.conv2d_vjp(dy, x.value, weight, *settings),
            *((x, key) if bias is None else (x, key, bias_key)),
        )

    def _stride(self, name: str) -> int:
        if name == self.net.spec.names.stem:
            return self.net.spec.stem.stride
        parent, _, leaf = name.rpartition(".")
        if leaf_of(parent) == "downsample":
            return self.net.rows[parent.rpartition(".")[0]].stride
        row = self.net.rows.get(parent)
        return row.stride if row and leaf == STRIDED[row.kind] else 1

    def _batch_norm(self, name: str, x: _Node) -> _Node:
        keys = [f"{name}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")]
        weight, bias, mean, variance = (self.net.state[key] for key in keys)
        settings = self.net.spec.batch_norm
        if settings is None:
            raise ValueError(f"{self.net.spec.name} has no batch norm")
        eps, parents = settings.eps, (x, *keys[:2])
        if not self.training:
            return self._node(
                operations.batch_norm(x.value, weight, bias, mean, variance, eps),
                lambda dy: operations.batch_norm_vjp(dy, x.value, weight, mean, variance, eps),
                *parents,
            )
        y, *statistics = operations.batch_norm_training(
            x.value, weight, bias, mean, variance, eps, settings.momentum
        )
        self.statistics |= zip(keys[2:], statistics, strict=True)
        vjp = operations.batch_norm_training_vjp
        return self._node(y, lambda dy: vjp(dy, x.value, weight, eps), *parents)

    def _dense(self, name: str, x: _Node) -> _Node:
        key, bias_key = f"{name}.weight", f"{name}.bias"
        weight = self.net.state[key]
        return self._node(
            operations.dense(x.value, weight, self.net.state[bias_key]),
            lambda dy: operations.dense_vjp(dy, x.value, weight),
            *(x, key, bias_key),
        )

    def _elementwise(self, name: str, x: _Node) -> _Node:
        is_gate = kind(name) == "gate"
        function, vjp = _ELEMENTWISE["sigmoid" if is_gate else self.net.spec.activation]
        return self._node(function(x.value), lambda dy: (vjp(dy, x.value),), x)

    def _mean(self, x: _Node, keepdims: bool) -> _Node:
        y = operations.mean(x.value, keepdims=keepdims)
        return self._node(y, lambda dy: (operations.mean_vjp(dy, x.value),), x)

    def _global_mean(self, name: str, x: _Node) -> _Node:
        return self._mean(x, keepdims=False)

    def _max_pool(self, name: str, x: _Node) -> _Node:
        pool = self.net.spec.stem.pool
        if pool is None:
            raise ValueError(f"{self.net.spec.name} has no max pool")
        sides = padding("symmetric", pool.kernel_size, pool.stride, x.value.shape[2:])
        settings = pool.kernel_size, pool.stride, sides
        y = operations.max_pool(x.value, *settings)
        return self._node(y, lambda dy: (operations.max_pool_vjp(dy, x.value, *settings),), x)

    def _scale(self, x: _Node, factors: _Node) -> _Node:
        y, vjp = operations.scale(x.value, factors.value), operations.scale_vjp
        return self._node(y, lambda dy: vjp(dy, x.value, factors.value), x, factors)

    def _sum(self, x: _Node, y: _Node) -> _Node:
        return self._node(operations.residual_sum(x.value, y.value), lambda dy: (dy, dy), x, y)


_ELEMENTWISE = {
    "silu": (operations.silu, operations.silu_vjp),
    "relu6": (operations.relu6, operations.relu6_vjp),
    "relu": (operations.relu, operations.relu_vjp),
    "sigmoid": (operations.sigmoid, operations.sigmoid_vjp),
}


def _gradient(node: _Node) -> Array:
    return np.array(np.broadcast_to(node.gradient, node.value.shape))
