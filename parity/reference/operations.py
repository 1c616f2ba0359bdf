"""Every operation of the twins by its mathematical definition, in float64 and without a framework.

Where two frameworks disagree, this is what says which of them is off: a net in evaluation or in
training can be composed of these. ``*_vjp`` is the vector-Jacobian product of the function before
it: from ``dy``, the gradient of a scalar with respect to the output, those with respect to what
went in. Floating-point arguments are widened to float64, which is exact. Images are (N, C, H, W).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from tinynet.spec import Padding

Array = NDArray[Any]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Gradients(NamedTuple):
    """With respect to a layer's input, its weight and its bias."""

    x: Array
    weight: Array
    bias: Array


class Normalised(NamedTuple):
    """Batch norm in training: its output (N, C, H, W) and the running statistics (C,) behind it."""

    y: Array
    running_mean: Array
    running_variance: Array


class Slots(NamedTuple):
    """A parameter behind a step of RMSProp, and what the optimizer keeps for it."""

    parameter: Array
    mean_square: Array
    momentum: Array


def _widened(function: Callable[_P, _R]) -> Callable[_P, _R]:
    def wide(value: object) -> object:
        if not isinstance(value, np.ndarray):
            return value
        array = cast(Array, value)
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    @functools.wraps(function)
    def widened(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        named = {name: wide(value) for name, value in kwargs.items()}
        return function(*map(wide, args), **named)  # pyright: ignore[reportCallIssue]

    return widened


# Layers


@_widened
def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
) -> Array:
    """Convolution, which is cross-correlation as in every framework.

    Args:
        x: (N, C, H, W).
        weight: (O, C / groups, K, K).
        bias: (O,), None for none.
        stride: in pixels.
        padding: zeros added at (top, bottom, left, right).
        groups: input and output channels are split into so many that do not see each other.

    Returns:
        (N, O, H', W').
    """
    padded = _split(_pad(x, padding), groups)
    kernel = _split(weight[None], groups)[0]
    size = _output_size(padded, weight.shape[-2:], stride)
    y = np.zeros((len(x), groups, kernel.shape[1], size[0] * size[1]))
    for tap, window in _windows(weight.shape[-2:], size, stride):
        y += kernel[(..., *tap)] @ _flat(padded[(..., *window)])
    y = y.reshape(len(x), len(weight), *size)
    return y if bias is None else y + bias[:, None, None]


@_widened
def conv2d_vjp(
    dy: Array,
    x: Array,
    weight: Array,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
) -> Gradients:
    """Gradients of :func:`conv2d` from ``dy`` (N, O, H', W'); the arguments are as there."""
    padded = _split(_pad(x, padding), groups)
    kernel = _split(weight[None], groups)[0]
    size = dy.shape[2:]
    rows = _flat(_split(dy, groups))
    dpadded, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
    for tap, window in _windows(weight.shape[-2:], size, stride):
        columns = _flat(padded[(..., *window)])
        dkernel[(..., *tap)] = (rows @ columns.swapaxes(-1, -2)).sum(0)
        # Windows overlap: a pixel collects what every window that holds it sends back.
        back = kernel[(..., *tap)].swapaxes(-1, -2) @ rows
        dpadded[(..., *window)] += back.reshape(*back.shape[:-1], *size)
    dx = dpadded.reshape(*x.shape[:2], *dpadded.shape[3:])[_inside(x, padding)]
    return Gradients(dx, dkernel.reshape(weight.shape), dy.sum((0, 2, 3)))


@_widened
def batch_norm(
    x: Array, weight: Array, bias: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """Batch norm in evaluation: (N, C, H, W) by the running statistics, each (C,)."""
    scale = weight / np.sqrt(variance + eps)
    return (x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]


@_widened
def batch_norm_vjp(
    dy: Array, x: Array, weight: Array, mean: Array, variance: Array, eps: float
) -> Gradients:
    """Gradients of :func:`batch_norm`; the running statistics are constants."""
    roots = np.sqrt(variance + eps)
    normalised = (x - mean[:, None, None]) / roots[:, None, None]
    dx = dy * (weight / roots)[:, None, None]
    return Gradients(dx, (dy * normalised).sum(_PIXELS), dy.sum(_PIXELS))


@_widened
def batch_norm_training(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    eps: float,
    momentum: float,
) -> Normalised:
    """Batch norm in training: by the batch's own statistics, towards which the running ones move.

    Args:
        x: (N, C, H, W) with N H W at least 2, or there is no unbiased variance.
        weight: (C,).
        bias: (C,).
        mean: (C,), the running mean as it is.
        variance: (C,), the running variance as it is.
        eps: added to the variance, which is the biased one here.
        momentum: the weight of the batch in the running statistics, which take the unbiased one.
    """
    count = x.size // x.shape[1]
    batch_mean, batch_variance = x.mean(_PIXELS), x.var(_PIXELS)
    unbiased = batch_variance * count / (count - 1)
    return Normalised(
        batch_norm(x, weight, bias, batch_mean, batch_variance, eps),
        (1 - momentum) * mean + momentum * batch_mean,
        (1 - momentum) * variance + momentum * unbiased,
    )


@_widened
def batch_norm_training_vjp(dy: Array, x: Array, weight: Array, eps: float) -> Gradients:
    """Gradients of the output of :func:`batch_norm_training`, through the batch's statistics."""
    mean, variance = x.mean(_PIXELS), x.var(_PIXELS)
    of_constants = batch_norm_vjp(dy, x, weight, mean, variance, eps)
    normalised = (x - mean[:, None, None]) / np.sqrt(variance + eps)[:, None, None]
    # What moves all pixels of a channel alike, or scales them, is taken out again.
    along = (dy * normalised).mean(_PIXELS)[:, None, None]
    centred = dy - dy.mean(_PIXELS)[:, None, None] - normalised * along
    dx = centred * (weight / np.sqrt(variance + eps))[:, None, None]
    return Gradients(dx, of_constants.weight, of_constants.bias)


@_widened
def dense(x: Array, weight: Array, bias: Array) -> Array:
    """The classifier: (N, I) by (O, I) and (O,) to (N, O)."""
    return x @ weight.T + bias


@_widened
def dense_vjp(dy: Array, x: Array, weight: Array) -> Gradients:
    """Gradients of :func:`dense` from ``dy`` (N, O)."""
    return Gradients(dy @ weight, dy.T @ x, dy.sum(0))


# Activations and gates, number by number


@_widened
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.exp(-np.logaddexp(0.0, -x))  # which overflows nowhere


@_widened
def sigmoid_vjp(dy: Array, x: Array) -> Array:
    """The gradient of :func:`sigmoid`."""
    return dy * sigmoid(x) * sigmoid(-x)


@_widened
def silu(x: Array) -> Array:
    """The product of x and its sigmoid."""
    return x * sigmoid(x)


@_widened
def silu_vjp(dy: Array, x: Array) -> Array:
    """The gradient of :func:`silu`."""
    return dy * sigmoid(x) * (1.0 + x * sigmoid(-x))


@_widened
def relu6(x: Array) -> Array:
    """x, kept between 0 and 6."""
    return np.clip(x, 0.0, 6.0)


@_widened
def relu6_vjp(dy: Array, x: Array) -> Array:
    """The gradient of :func:`relu6`; at the kinks, 0 and 6, it is 0."""
    return dy * ((x > 0.0) & (x < 6.0))


@_widened
def relu(x: Array) -> Array:
    """x, kept from falling below 0."""
    return np.maximum(x, 0.0)


@_widened
def relu_vjp(dy: Array, x: Array) -> Array:
    """The gradient of :func:`relu`; at the kink, 0, it is 0."""
    return dy * (x > 0.0)


# Means, gates and branches


@_widened
def max_pool(x: Array, kernel_size: int, stride: int, padding: Padding) -> Array:
    """The largest pixel of each window: (N, C, H, W) to (N, C, H', W'); padding is never it."""
    padded, kernel = _pad(x, padding, -np.inf), (kernel_size, kernel_size)
    size = _output_size(padded, kernel, stride)
    windows = [padded[(..., *window)] for _, window in _windows(kernel, size, stride)]
    return np.maximum.reduce(windows)


@_widened
def max_pool_vjp(dy: Array, x: Array, kernel_size: int, stride: int, padding: Padding) -> Array:
    """The gradient of :func:`max_pool`; of equal pixels the first, row by row, has it all."""
    padded, kernel = _pad(x, padding, -np.inf), (kernel_size, kernel_size)
    windows = [window for _, window in _windows(kernel, dy.shape[2:], stride)]
    first = np.stack([padded[(..., *window)] for window in windows]).argmax(0)
    dpadded = np.zeros_like(padded)
    for index, window in enumerate(windows):
        dpadded[(..., *window)] += dy * (first == index)
    return dpadded[_inside(x, padding)]


@_widened
def mean(x: Array, keepdims: bool = False) -> Array:
    """Mean over height and width: (N, C, H, W) to (N, C), or (N, C, 1, 1) with ``keepdims``."""
    return x.mean((2, 3), keepdims=keepdims)


@_widened
def mean_vjp(dy: Array, x: Array) -> Array:
    """The gradient of :func:`mean` from ``dy`` (N, C) or (N, C, 1, 1)."""
    share = dy.reshape(*x.shape[:2], 1, 1) / (x.shape[2] * x.shape[3])
    return np.broadcast_to(share, x.shape).copy()


@_widened
def scale(x: Array, factors: Array) -> Array:
    """A squeeze-excite's gates (N, C, 1, 1), drop-path (N, 1, 1, 1) or dropout (N, C) applied.

    Args:
        x: (N, C, H, W), or (N, C) for dropout.
        factors: a shape that broadcasts to that of ``x``.
    """
    return x * factors


@_widened
def scale_vjp(dy: Array, x: Array, factors: Array) -> tuple[Array, Array]:
    """The gradients of :func:`scale` for ``x`` and for ``factors``."""
    axes = tuple(axis for axis, size in enumerate(factors.shape) if size == 1)
    return dy * factors, (dy * x).sum(axes, keepdims=True)


@_widened
def residual_sum(x: Array, y: Array) -> Array:
    """A block's input plus its branch; what ``dy`` is for the sum it is for both."""
    return x + y


# The loss


@_widened
def log_softmax(logits: Array) -> Array:
    """Logarithms of the classes' probabilities: (N, K) to (N, K)."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


@_widened
def log_softmax_vjp(dy: Array, logits: Array) -> Array:
    """The gradient of :func:`log_softmax`."""
    return dy - np.exp(log_softmax(logits)) * dy.sum(1, keepdims=True)


@_widened
def cross_entropy(logits: Array, labels: Array, label_smoothing: float = 0.0) -> float:
    """The mean cross entropy, in nats.

    Args:
        logits: (N, K).
        labels: (N,), integers from 0 to K - 1.
        label_smoothing: s: the target is 1 - s on the label plus s / K on each of the K classes.

    Source: Szegedy et al., Rethinking the Inception Architecture (arXiv 1512.00567), section 7.
    """
    return float(-(_targets(logits, labels, label_smoothing) * log_softmax(logits)).sum(1).mean())


@_widened
def cross_entropy_vjp(
    dy: float, logits: Array, labels: Array, label_smoothing: float = 0.0
) -> Array:
    """The gradient of :func:`cross_entropy` for the logits."""
    probabilities = np.exp(log_softmax(logits))
    return dy * (probabilities - _targets(logits, labels, label_smoothing)) / len(logits)


# Updates


@_widened
def rmsprop_step(
    state: Slots,
    gradient: Array,
    learning_rate: float,
    decay: float,
    momentum: float,
    eps: float,
    weight_decay: float = 0.0,
) -> Slots:
    """A step of RMSProp in TensorFlow's form: eps inside the root, the rate inside the momentum.

    Args:
        state: where the step starts; a run starts with a mean square of ones, a momentum of zeros.
        gradient: of the parameter's shape, like everything in ``state``.
        learning_rate: of this step.
        decay: the weight of the old mean square.
        momentum: the weight of the old momentum.
        eps: added to the mean square.
        weight_decay: how much of the parameter is added to its gradient.

    Source: ``tf.train.RMSPropOptimizer``, as timm's ``RMSpropTF`` carries it over.
    """
    parameter, mean_square, step = (values.astype(np.float64) for values in state)
    gradient = gradient + weight_decay * parameter
    mean_square = decay * mean_square + (1 - decay) * gradient**2
    step = momentum * step + learning_rate * gradient / np.sqrt(mean_square + eps)
    return Slots(parameter - step, mean_square, step)


@_widened
def sgd_step(
    parameter: Array,
    gradient: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """A step of gradient descent with momentum: the parameter and the velocity behind it.

    Source: ``torch.optim.SGD`` without dampening, ``mindspore.nn.SGD``.
    """
    velocity = momentum * velocity + gradient + weight_decay * parameter
    return parameter - learning_rate * velocity, velocity


@_widened
def ema_step(average: Array, values: Array, decay: float) -> Array:
    """The moving average behind ``values``; ``decay`` is the weight of the old average."""
    return decay * average + (1 - decay) * values


_PIXELS = (0, 2, 3)


def _pad(x: Array, padding: Padding, value: float = 0.0) -> Array:
    top, bottom, left, right = padding
    sides = ((0, 0), (0, 0), (top, bottom), (left, right))
    return np.pad(x, sides, constant_values=value)


def _inside(x: Array, padding: Padding) -> tuple[Any, ...]:
    # Where x is within what it was padded to.
    top, _, left, _ = padding
    return (..., slice(top, top + x.shape[2]), slice(left, left + x.shape[3]))


def _split(values: Array, groups: int) -> Array:
    # (N, C, ...) to (N, G, C / G, ...).
    return values.reshape(len(values), groups, values.shape[1] // groups, *values.shape[2:])


def _flat(values: Array) -> Array:
    return values.reshape(*values.shape[:-2], -1)


def _output_size(padded: Array, kernel: tuple[int, ...], stride: int) -> tuple[int, int]:
    height, width = (
        (have - covered) // stride + 1
        for have, covered in zip(padded.shape[-2:], kernel, strict=True)
    )
    return height, width


def _windows(
    kernel: tuple[int, ...], size: tuple[int, ...], stride: int
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    # Each tap (i, j) of the kernel, and the pixels it meets on its way over the padded image.
    for i, j in np.ndindex(*kernel):
        rows, columns = (
            slice(start, start + stride * (count - 1) + 1, stride)
            for start, count in zip((i, j), size, strict=True)
        )
        yield (i, j), (rows, columns)


def _targets(logits: Array, labels: Array, label_smoothing: float) -> Array:
    classes = logits.shape[1]
    return (1 - label_smoothing) * np.eye(classes)[labels] + label_smoothing / classes
