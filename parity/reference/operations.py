"""Every operation of the twins as mathematics defines it, in float64 and without a framework.

Where two frameworks disagree, this says which of them is off: a net in evaluation or in training
can be composed of these. ``*_vjp`` is the vector-Jacobian product of the function before it: from
``dy``, the gradient of a scalar with respect to the output, it computes those with respect to the
inputs. Floating-point arguments are widened to float64, which is exact. Images are (N, C, H, W).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from tinynet.spec import Padding

Array = NDArray[Any]
# The axes of (N, C, H, W) without the channels.
PIXELS = (0, 2, 3)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Gradients(NamedTuple):
    """The gradients for a layer's input, its weight and its bias."""

    x: Array
    weight: Array
    bias: Array


def widened(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Returns the operation with its floating-point arguments in float64, which is exact."""

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


@widened
def sigmoid(x: Array) -> Array:
    """Returns 1 / (1 + exp(-x))."""
    return np.exp(-np.logaddexp(0.0, -x))  # which overflows nowhere


@widened
def sigmoid_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`sigmoid`."""
    return dy * sigmoid(x) * sigmoid(-x)


@widened
def silu(x: Array) -> Array:
    """Returns the product of x and its sigmoid."""
    return x * sigmoid(x)


@widened
def silu_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`silu`."""
    return dy * sigmoid(x) * (1.0 + x * sigmoid(-x))


@widened
def relu6(x: Array) -> Array:
    """Limits x to the range from 0 to 6."""
    return np.clip(x, 0.0, 6.0)


@widened
def relu6_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`relu6`; at the kinks, 0 and 6, it is 0."""
    return dy * ((x > 0.0) & (x < 6.0))


@widened
def relu(x: Array) -> Array:
    """Limits x to at least 0."""
    return np.maximum(x, 0.0)


@widened
def relu_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`relu`; at the kink, 0, it is 0."""
    return dy * (x > 0.0)


@widened
def scale(x: Array, factors: Array) -> Array:
    """Scales (N, C, H, W) by gates (N, C, 1, 1) or drop-path (N, 1, 1, 1), (N, C) by dropout."""
    return x * factors


@widened
def scale_vjp(dy: Array, x: Array, factors: Array) -> tuple[Array, Array]:
    """Returns the gradients of :func:`scale` for ``x`` and for ``factors``."""
    axes = tuple(axis for axis, size in enumerate(factors.shape) if size == 1)
    return dy * factors, (dy * x).sum(axes, keepdims=True)


@widened
def residual_sum(x: Array, y: Array) -> Array:
    """Adds the branch to the block's input; ``dy`` is the gradient for both."""
    return x + y


@widened
def dense(x: Array, weight: Array, bias: Array) -> Array:
    """Computes the classifier: (N, I) by (O, I) and (O,) to (N, O)."""
    return x @ weight.T + bias


@widened
def dense_vjp(dy: Array, x: Array, weight: Array) -> Gradients:
    """Returns the gradients of :func:`dense` from ``dy`` (N, O)."""
    return Gradients(dy @ weight, dy.T @ x, dy.sum(0))


def pad(x: Array, padding: Padding, value: float = 0.0) -> Array:
    """Pads (N, C, H, W) at (top, bottom, left, right) with a value."""
    return np.pad(x, ((0, 0), (0, 0), padding[:2], padding[2:]), constant_values=value)


def inside(x: Array, padding: Padding) -> tuple[Any, ...]:
    """Returns the index of ``x`` in what it was padded to."""
    top, _, left, _ = padding
    return (..., slice(top, top + x.shape[2]), slice(left, left + x.shape[3]))


def output_size(padded: Array, kernel: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Returns how many windows there are, from top to bottom and from left to right."""
    sides = zip(padded.shape[-2:], kernel, strict=True)
    return tuple((pixels - covered) // stride + 1 for pixels, covered in sides)


def taps(
    kernel: tuple[int, ...], size: tuple[int, ...], stride: int
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Yields the index of each tap of a kernel, and that of the pixels which it meets."""
    for tap in np.ndindex(*kernel):
        starts = zip(tap, size, strict=True)
        pixels = (slice(at, at + stride * (count - 1) + 1, stride) for at, count in starts)
        yield (..., *tap), (..., *pixels)


@widened
def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
) -> Array:
    """Convolves (N, C, H, W) by (O, C / groups, K, K) and (O,) to (N, O, H', W').

    This is cross-correlation, as in every framework. Zeros are added at (top, bottom, left, right);
    channels are split into so many groups that do not see each other.
    """
    padded = _split(pad(x, padding), groups)
    kernel = _split(weight[None], groups)[0]
    size = output_size(padded, weight.shape[-2:], stride)
    y = np.zeros((len(x), groups, kernel.shape[1], size[0] * size[1]))
    for tap, window in taps(weight.shape[-2:], size, stride):
        y += kernel[tap] @ _flat(padded[window])
    y = y.reshape(len(x), len(weight), *size)
    return y if bias is None else y + bias[:, None, None]


@widened
def conv2d_vjp(
    dy: Array,
    x: Array,
    weight: Array,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
) -> Gradients:
    """Returns the gradients of :func:`conv2d` from ``dy`` (N, O, H', W'), with its arguments."""
    padded = _split(pad(x, padding), groups)
    kernel = _split(weight[None], groups)[0]
    size = dy.shape[2:]
    rows = _flat(_split(dy, groups))
    dpadded, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
    for tap, window in taps(weight.shape[-2:], size, stride):
        columns = _flat(padded[window])
        dkernel[tap] = (rows @ columns.swapaxes(-1, -2)).sum(0)
        # Windows overlap: a pixel collects what every window that holds it sends back.
        back = kernel[tap].swapaxes(-1, -2) @ rows
        dpadded[window] += back.reshape(*back.shape[:-1], *size)
    dx = dpadded.reshape(*x.shape[:2], *dpadded.shape[3:])[inside(x, padding)]
    return Gradients(dx, dkernel.reshape(weight.shape), dy.sum((0, 2, 3)))


def _split(values: Array, groups: int) -> Array:
    # (N, C, ...) to (N, G, C / G, ...).
    return values.reshape(len(values), groups, values.shape[1] // groups, *values.shape[2:])


def _flat(values: Array) -> Array:
    return values.reshape(*values.shape[:-2], -1)


@widened
def max_pool(x: Array, kernel_size: int, stride: int, padding: Padding) -> Array:
    """Returns the largest pixel of each window, which padding never is, as (N, C, H', W')."""
    padded, kernel = pad(x, padding, -np.inf), (kernel_size, kernel_size)
    size = output_size(padded, kernel, stride)
    return np.maximum.reduce([padded[window] for _, window in taps(kernel, size, stride)])


@widened
def max_pool_vjp(dy: Array, x: Array, kernel_size: int, stride: int, padding: Padding) -> Array:
    """Returns the gradient of :func:`max_pool`; of equal pixels the first, by rows, has it all."""
    padded, kernel = pad(x, padding, -np.inf), (kernel_size, kernel_size)
    windows = [window for _, window in taps(kernel, dy.shape[2:], stride)]
    first = np.stack([padded[window] for window in windows]).argmax(0)
    dpadded = np.zeros_like(padded)
    for index, window in enumerate(windows):
        dpadded[window] += dy * (first == index)
    return dpadded[inside(x, padding)]


@widened
def mean(x: Array, keepdims: bool = False) -> Array:
    """Returns the mean over height and width: (N, C), or (N, C, 1, 1) with ``keepdims``."""
    return x.mean((2, 3), keepdims=keepdims)


@widened
def mean_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`mean` from ``dy`` (N, C) or (N, C, 1, 1)."""
    return np.ones_like(x) * dy.reshape(*x.shape[:2], 1, 1) / (x.shape[2] * x.shape[3])


class Normalised(NamedTuple):
    """The output (N, C, H, W) of batch norm in training, and the new running statistics (C,)."""

    y: Array
    running_mean: Array
    running_variance: Array


@widened
def batch_norm(
    x: Array, weight: Array, bias: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """Normalises (N, C, H, W) by the running statistics, each (C,), as in evaluation."""
    scale = weight / np.sqrt(variance + eps)
    return (x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]


@widened
def batch_norm_vjp(
    dy: Array, x: Array, weight: Array, mean: Array, variance: Array, eps: float
) -> Gradients:
    """Returns the gradients of :func:`batch_norm`; the running statistics are constants."""
    roots = np.sqrt(variance + eps)
    normalised = (x - mean[:, None, None]) / roots[:, None, None]
    dx = dy * (weight / roots)[:, None, None]
    return Gradients(dx, (dy * normalised).sum(PIXELS), dy.sum(PIXELS))


@widened
def batch_norm_training(
    x: Array, weight: Array, bias: Array, mean: Array, variance: Array, eps: float, momentum: float
) -> Normalised:
    """Normalises by the batch's own statistics, and moves the running ones towards them.

    ``x`` is (N, C, H, W) with N H W at least 2, or there is no unbiased variance; weight, bias and
    the running mean and variance before are (C,). The variance that ``eps`` is added to is biased;
    the running one takes the unbiased one. ``momentum`` is the weight of the batch in them.
    """
    count = x.size // x.shape[1]
    batch_mean, batch_variance = x.mean(PIXELS), x.var(PIXELS)
    unbiased = batch_variance * count / (count - 1)
    return Normalised(
        batch_norm(x, weight, bias, batch_mean, batch_variance, eps),
        (1 - momentum) * mean + momentum * batch_mean,
        (1 - momentum) * variance + momentum * unbiased,
    )


@widened
def batch_norm_training_vjp(dy: Array, x: Array, weight: Array, eps: float) -> Gradients:
    """Returns the gradients of :func:`batch_norm_training`, through the batch's statistics."""
    mean, variance = x.mean(PIXELS), x.var(PIXELS)
    of_constants = batch_norm_vjp(dy, x, weight, mean, variance, eps)
    normalised = (x - mean[:, None, None]) / np.sqrt(variance + eps)[:, None, None]
    # Normalising removes whatever shifts or scales all pixels of a channel.
    along = (dy * normalised).mean(PIXELS)[:, None, None]
    centred = dy - dy.mean(PIXELS)[:, None, None] - normalised * along
    dx = centred * (weight / np.sqrt(variance + eps))[:, None, None]
    return Gradients(dx, of_constants.weight, of_constants.bias)


@widened
def log_softmax(logits: Array) -> Array:
    """Returns the logarithms of the classes' probabilities: (N, K) to (N, K)."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


@widened
def log_softmax_vjp(dy: Array, logits: Array) -> Array:
    """Returns the gradient of :func:`log_softmax`."""
    return dy - np.exp(log_softmax(logits)) * dy.sum(1, keepdims=True)


@widened
def cross_entropy(logits: Array, labels: Array, label_smoothing: float = 0.0) -> float:
    """Returns the mean cross entropy, in nats, of logits (N, K) for labels (N,) from 0 to K - 1.

    With a smoothing of s the target is 1 - s on the label plus s / K on each of the K classes.

    Source: Szegedy et al., Rethinking the Inception Architecture (arXiv 1512.00567), section 7.
    """
    return float(-(_targets(logits, labels, label_smoothing) * log_softmax(logits)).sum(1).mean())


@widened
def cross_entropy_vjp(
    dy: float, logits: Array, labels: Array, label_smoothing: float = 0.0
) -> Array:
    """Returns the gradient of :func:`cross_entropy` for the logits."""
    errors = np.exp(log_softmax(logits)) - _targets(logits, labels, label_smoothing)
    return dy * errors / len(logits)


def _targets(logits: Array, labels: Array, label_smoothing: float) -> Array:
    classes = logits.shape[1]
    return (1 - label_smoothing) * np.eye(classes)[labels] + label_smoothing / classes


class Slots(NamedTuple):
    """A parameter, and what RMSProp keeps for it from step to step."""

    parameter: Array
    mean_square: Array
    momentum: Array


@widened
def rmsprop_step(
    state: Slots,
    gradient: Array,
    learning_rate: float,
    decay: float,
    momentum: float,
    eps: float,
    weight_decay: float = 0.0,
) -> Slots:
    """Takes a step of TensorFlow's RMSProp: eps inside the root, the rate inside the momentum.

    A run starts with a mean square of ones and a momentum of zeros. ``decay`` and ``momentum`` are
    the weights of the old ones; ``weight_decay`` of the parameter is added to its gradient.

    Source: ``tf.train.RMSPropOptimizer``, as timm's ``RMSpropTF`` carries it over.
    """
    parameter, mean_square, step = (values.astype(np.float64) for values in state)
    gradient = gradient + weight_decay * parameter
    mean_square = decay * mean_square + (1 - decay) * gradient**2
    step = momentum * step + learning_rate * gradient / np.sqrt(mean_square + eps)
    return Slots(parameter - step, mean_square, step)


@widened
def sgd_step(
    parameter: Array,
    gradient: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Takes a step of gradient descent with momentum; returns the parameter and the velocity.

    Source: ``torch.optim.SGD`` without dampening, ``mindspore.nn.SGD``.
    """
    velocity = momentum * velocity + gradient + weight_decay * parameter
    return parameter - learning_rate * velocity, velocity


@widened
def ema_step(average: Array, values: Array, decay: float) -> Array:
    """Moves an average towards ``values``; ``decay`` is the weight of the old average."""
    return decay * average + (1 - decay) * values
