"""The layers, activations and functions of the twins, and the loss, on many shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinynet.backend import Backend
from tinynet.spec import BatchNorm, Padding, Pool

from parity.audit.harness import Array, Arrays, Harness, Operator, OperatorComparison
from parity.reference import operations
from parity.reference.operations import Gradients

# Convolutions and the classifier


class _Convolution(NamedTuple):
    kernel_size: int = 1
    stride: int = 1
    padding: Padding = (0, 0, 0, 0)
    depthwise: bool = False
    bias: bool = False


# Every kind in the specs; uneven padding is that of TensorFlow's "same".
_CONVOLUTIONS = {
    "pointwise": _Convolution(),
    "pointwise with bias": _Convolution(bias=True),
    "pointwise stride 2": _Convolution(1, 2),
    "3x3": _Convolution(3, 1, (1, 1, 1, 1)),
    "3x3 stride 2": _Convolution(3, 2, (1, 1, 1, 1)),
    "3x3 stride 2 uneven": _Convolution(3, 2, (0, 1, 0, 1)),
    "7x7 stride 2": _Convolution(7, 2, (3, 3, 3, 3)),
    "depthwise 3x3": _Convolution(3, 1, (1, 1, 1, 1), depthwise=True),
    "depthwise 3x3 stride 2": _Convolution(3, 2, (1, 1, 1, 1), depthwise=True),
    "depthwise 3x3 stride 2 uneven": _Convolution(3, 2, (0, 1, 0, 1), depthwise=True),
    "depthwise 5x5": _Convolution(5, 1, (2, 2, 2, 2), depthwise=True),
    "depthwise 5x5 stride 2": _Convolution(5, 2, (2, 2, 2, 2), depthwise=True),
    "depthwise 5x5 stride 2 uneven": _Convolution(5, 2, (1, 2, 1, 2), depthwise=True),
}


def _convolution(kind: _Convolution, harness: Harness) -> Iterator[OperatorComparison]:
    def define(dy: Array, x: Array, weight: Array, bias: Array | None = None) -> Arrays:
        gradients = operations.conv2d_vjp(dy, x, weight, *how)
        return _outputs(operations.conv2d(x, weight, bias, *how), gradients, bias is not None)

    kernel, stride, padding, depthwise, bias = kind
    top, bottom, left, right = padding
    for shape in harness.images():
        _, channels, height, width = shape
        if min(top + height + bottom, left + width + right) < kernel:
            continue
        outputs, groups = (channels, channels) if depthwise else (channels + 3, 1)
        how = stride, padding, groups
        x = harness.draw(*shape)
        state = {"weight": harness.draw(outputs, channels // groups, kernel, kernel)}
        state |= {"bias": harness.draw(outputs)} if bias else {}
        dy = harness.draw(*operations.conv2d(x, state["weight"], None, *how).shape)
        layer = harness.twin.blocks.conv2d(channels, outputs, kernel, *how, bias)
        yield from harness.run_layer(layer, state, x, dy, define)


def _dense(harness: Harness) -> Iterator[OperatorComparison]:
    def define(dy: Array, x: Array, weight: Array, bias: Array) -> Arrays:
        return _outputs(operations.dense(x, weight, bias), operations.dense_vjp(dy, x, weight))

    shapes = [(*rows, 5) for rows in harness.rows()] + [(2, 7, size) for size in harness.sizes]
    for rows, inputs, outputs in shapes:
        state = {"weight": harness.draw(outputs, inputs), "bias": harness.draw(outputs)}
        layer = harness.twin.probe.operators.dense(inputs, outputs)
        x, dy = harness.draw(rows, inputs), harness.draw(rows, outputs)
        yield from harness.run_layer(layer, state, x, dy, define)


def _outputs(y: Array, gradients: Gradients, bias: bool = True) -> Arrays:
    found = {"y": y, "dx": gradients.x, "dweight": gradients.weight}
    return found | ({"dbias": gradients.bias} if bias else {})


# Batch norm

_EPS, _MOMENTUM = 1e-5, 0.1  # the family's


def _batch_norm(training: bool, flat: bool, harness: Harness) -> Iterator[OperatorComparison]:
    define, terms = (_training, _training_terms) if training else (_evaluation, _evaluation_terms)
    for shape in harness.images():
        images, channels, height, width = shape
        if images * height * width == 1:
            continue  # a single number has no variance
        state = {
            "weight": harness.draw(channels),
            "bias": harness.draw(channels),
            "running_mean": harness.draw(channels),
            "running_var": np.abs(harness.draw(channels)) + np.float32(0.1),
        }
        x = _flat_areas(shape) if flat else harness.draw(*shape, mean=1.0)
        layer = harness.twin.blocks.batch_norm(channels, BatchNorm(_EPS, _MOMENTUM))
        yield from harness.run_layer(layer, state, x, harness.draw(*shape), define, terms, training)


def _flat_areas(shape: tuple[int, int, int, int]) -> Array:
    # As in drawings and at the borders of photographs, most numbers are equal to the last bit,
    # and so are the errors of sums over them, which do not average out.
    images = np.full(shape, 0.7, np.float32)
    images[:, :, : shape[2] // 4] = 0.1
    return images * np.linspace(0.5, 2.0, shape[1], dtype=np.float32)[:, None, None]


def _evaluation(dy: Array, x: Array, **state: Array) -> Arrays:
    weight, bias, mean, variance = state.values()
    y = operations.batch_norm(x, weight, bias, mean, variance, _EPS)
    return _outputs(y, operations.batch_norm_vjp(dy, x, weight, mean, variance, _EPS))


def _evaluation_terms(running_var: Array, **arrays: Array) -> Arrays:
    # Minus the mean's size, so that x - mean becomes a sum.
    sizes = {key: np.abs(values) for key, values in arrays.items()}
    mean = -sizes.pop("running_mean")
    return _evaluation(**sizes, running_mean=mean, running_var=running_var)


def _training(dy: Array, x: Array, **state: Array) -> Arrays:
    weight, bias, *before = state.values()
    settings = _EPS, _MOMENTUM
    y, *after = operations.batch_norm_training(x, weight, bias, before[0], before[1], *settings)
    found = _outputs(y, operations.batch_norm_training_vjp(dy, x, weight, _EPS))
    return found | dict(zip(("running_mean", "running_var"), after, strict=True))


def _training_terms(dy: Array, x: Array, **state: Array) -> Arrays:
    weight, bias, running_mean, running_var = state.values()
    axes = (0, 2, 3)
    distance = np.abs(x - x.mean(axes, keepdims=True))
    dy, x = np.abs(dy), np.abs(x)
    mean, variance = x.mean(axes), (distance**2).mean(axes)
    affine = {"weight": weight, "bias": bias}
    found = _evaluation_terms(dy=dy, x=x, **affine, running_mean=mean, running_var=variance)
    normalised = operations.batch_norm(x, np.ones_like(mean), 0 * mean, -mean, variance, _EPS)
    along = (dy * normalised).mean(axes, keepdims=True)
    centred = dy + dy.mean(axes, keepdims=True) + normalised * along
    count = x.size // len(mean)
    # Of the square of x - mean, one factor becomes a sum.
    squares = (distance * (x + mean[:, None, None])).sum(axes) / (count - 1)
    return found | {
        "dx": centred * np.abs(weight / np.sqrt(variance + _EPS))[:, None, None],
        "running_mean": operations.ema_step(np.abs(running_mean), mean, 1 - _MOMENTUM),
        "running_var": operations.ema_step(running_var, squares, 1 - _MOMENTUM),
    }


# Activations, means, factors and sums


class _Layer(NamedTuple):
    function: Callable[..., Array]
    vjp: Callable[..., Array]
    make: Callable[[Backend, int], Any]  # for a number of channels
    terms: Callable[..., Arrays] | None = None
    mean: float = 0.0  # of the input
    deviation: float = 1.0


def _layer(kind: _Layer, harness: Harness) -> Iterator[OperatorComparison]:
    def define(dy: Array, x: Array) -> Arrays:
        return {"y": kind.function(x), "dx": kind.vjp(dy, x)}

    for shape in harness.images():
        layer = kind.make(harness.twin, shape[1])
        x = harness.draw(*shape, mean=kind.mean, deviation=kind.deviation)
        dy = harness.draw(*kind.function(x).shape)
        yield from harness.run_layer(layer, {}, x, dy, define, kind.terms)


def _sigmoid_terms(dy: Array, x: Array) -> Arrays:
    y = operations.sigmoid(x)
    return {"y": y, "dx": dy * y * (1 + y)}


def _silu_terms(dy: Array, x: Array) -> Arrays:
    gate = operations.sigmoid(x)
    return {"y": x * gate, "dx": dy * gate * (1 + np.abs(x) * (1 + gate))}


def _rectified_terms(dy: Array, x: Array) -> Arrays:
    return {"y": x, "dx": dy}


def _block(name: str, *settings: Any) -> Callable[[Backend, int], Any]:
    return lambda twin, channels: getattr(twin.blocks, name)(*settings)


def _gate(twin: Backend, channels: int) -> Any:
    return twin.blocks.SqueezeExcite(1, 1, "silu").gate


def _means_as_gates(twin: Backend, channels: int) -> Any:
    return twin.probe.operators.means_as_gates(channels)


_POOL = Pool(kernel_size=3, stride=2)  # ResNet's
_SIDES = (_POOL.padding, _POOL.padding, _POOL.padding, _POOL.padding)
_POOLED = {"kernel_size": _POOL.kernel_size, "stride": _POOL.stride, "padding": _SIDES}
_max_pool: Callable[[Array], Array] = partial(operations.max_pool, **_POOLED)
_max_pool_vjp: Callable[[Array, Array], Array] = partial(operations.max_pool_vjp, **_POOLED)


def _pool_terms(dy: Array, x: Array) -> Arrays:
    # A pixel may be the largest of several windows.
    return {"y": _max_pool(x), "dx": _max_pool_vjp(np.abs(dy), x)}


def _by_means(x: Array) -> Array:
    return operations.scale(x, operations.mean(x, keepdims=True))


def _by_means_vjp(dy: Array, x: Array) -> Array:
    dx, dmeans = operations.scale_vjp(dy, x, operations.mean(x, keepdims=True))
    return dx + operations.mean_vjp(dmeans, x)


_SILU, _RELU6, _RELU = (_block("activation", name) for name in ("silu", "relu6", "relu"))
_LAYERS = {
    "sigmoid": _Layer(operations.sigmoid, operations.sigmoid_vjp, _gate, _sigmoid_terms, 0, 4),
    "SiLU": _Layer(operations.silu, operations.silu_vjp, _SILU, _silu_terms, 0, 4),
    "ReLU6": _Layer(operations.relu6, operations.relu6_vjp, _RELU6, _rectified_terms, 3, 4),
    "ReLU": _Layer(operations.relu, operations.relu_vjp, _RELU, _rectified_terms),
    # Below 0, so that zeros that are padded with would show.
    "max pool": _Layer(_max_pool, _max_pool_vjp, _block("max_pool", _POOL), _pool_terms, -1),
    "mean": _Layer(operations.mean, operations.mean_vjp, _block("GlobalAveragePool"), mean=1),
    "means as gates": _Layer(_by_means, _by_means_vjp, _means_as_gates, mean=1),
}


def _drop_path(harness: Harness) -> Iterator[OperatorComparison]:
    def define(dy: Array, x: Array, factors: Array) -> Arrays:
        return _scaled(dy, x, factors[:, None, None, None])

    for shape in harness.images():
        arrays = {"x": harness.draw(*shape), "factors": harness.draw(shape[0])}
        function = harness.twin.blocks.drop_path
        yield from harness.run_function(function, arrays, harness.draw(*shape), define)


def _dropout(harness: Harness) -> Iterator[OperatorComparison]:
    for shape in harness.rows():
        arrays = {"x": harness.draw(*shape), "factors": harness.draw(*shape)}
        function = harness.twin.probe.operators.dropout
        yield from harness.run_function(function, arrays, harness.draw(*shape), _scaled)


def _scaled(dy: Array, x: Array, factors: Array) -> Arrays:
    return {"y": operations.scale(x, factors), "dx": operations.scale_vjp(dy, x, factors)[0]}


def _residual_sum(harness: Harness) -> Iterator[OperatorComparison]:
    def define(dy: Array, x: Array, branch: Array) -> Arrays:
        return {"y": operations.residual_sum(x, branch), "dx": dy, "dbranch": dy}

    for shape in harness.images():
        arrays = {"x": harness.draw(*shape), "branch": harness.draw(*shape)}
        function = harness.twin.probe.operators.residual_sum
        yield from harness.run_function(function, arrays, harness.draw(*shape), define)


# The loss


def _log_softmax(harness: Harness) -> Iterator[OperatorComparison]:
    def define(dy: Array, x: Array) -> Arrays:
        return {"y": operations.log_softmax(x), "dx": operations.log_softmax_vjp(dy, x)}

    def terms(dy: Array, x: Array) -> Arrays:
        dy = np.abs(dy)
        dx = dy + np.exp(operations.log_softmax(x)) * dy.sum(1, keepdims=True)
        return {"y": _logarithm_terms(x), "dx": dx}

    for shape in harness.rows():
        arrays, dy = {"x": harness.draw(*shape, deviation=3.0)}, harness.draw(*shape)
        function = harness.twin.probe.operators.log_softmax
        yield from harness.run_function(function, arrays, dy, define, terms)


def _cross_entropy(harness: Harness, label_smoothing: float = 0.1) -> Iterator[OperatorComparison]:
    def define(dy: Array, x: Array, labels: Array) -> Arrays:
        y = operations.cross_entropy(x, labels, label_smoothing)
        dx = operations.cross_entropy_vjp(float(dy), x, labels, label_smoothing)
        return {"y": np.array(y), "dx": dx}

    def terms(dy: Array, x: Array, labels: Array) -> Arrays:
        probabilities = np.exp(operations.log_softmax(x))
        # The targets are what the probabilities are short of where the gradient vanishes.
        dx = operations.cross_entropy_vjp(float(dy), x, labels, label_smoothing)
        targets = probabilities - dx * len(x) / float(dy)
        y = (targets * _logarithm_terms(x)).sum(1).mean()
        return {"y": np.array(y), "dx": float(dy) * (probabilities + targets) / len(x)}

    def smoothed(logits: Any, labels: Any) -> Any:
        return harness.twin.loss.cross_entropy(logits, labels, label_smoothing)

    for rows, classes in harness.rows():
        x = harness.draw(rows, classes, deviation=3.0)
        arrays = {"x": x, "labels": harness.draw_labels(rows, classes)}
        dy = np.array(0.7, np.float32)
        yield from harness.run_function(smoothed, arrays, dy, define, terms)


def _logarithm_terms(x: Array) -> Array:
    # The logits less the largest of them, and the logarithm of a sum: an error of the sum, which
    # is relative, is absolute in the logarithm.
    shifted = x - x.max(1, keepdims=True)
    return np.abs(shifted) + np.log(np.exp(shifted).sum(1, keepdims=True)) + 1


LAYERS: dict[str, Operator] = {
    **{f"convolution {name}": partial(_convolution, k) for name, k in _CONVOLUTIONS.items()},
    "dense": _dense,
    "batch norm in evaluation": partial(_batch_norm, False, False),
    "batch norm in training": partial(_batch_norm, True, False),
    "batch norm in training on flat areas": partial(_batch_norm, True, True),
    **{name: partial(_layer, kind) for name, kind in _LAYERS.items()},
    "residual sum": _residual_sum,
    "drop-path": _drop_path,
    "dropout": _dropout,
    "log-softmax": _log_softmax,
    "cross entropy": _cross_entropy,
}
