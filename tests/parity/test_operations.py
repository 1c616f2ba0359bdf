"""The reference operations against PyTorch in float64, its autograd included."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tinynet.recipe import Optimizer

from parity.reference import operations
from torch_impl.loss import cross_entropy
from torch_impl.optim import OPTIMIZERS, Average

EXACT = {"rtol": 1e-11, "atol": 1e-13}


@pytest.fixture
def draw():
    generator = np.random.default_rng(0)
    return lambda *shape: generator.standard_normal(shape)


def differentiated(function, dy, *arrays):
    """PyTorch's output and its gradients for the arrays, all float64."""
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    y = function(*tensors)
    found = torch.autograd.grad(y, tensors, torch.tensor(dy, dtype=y.dtype))
    return [y.detach().numpy(), *(gradient.numpy() for gradient in found)]


def assert_alike(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


# kernel, stride, (top, bottom, left, right), groups, input and output channels, height, width
CONVOLUTIONS = {
    "pointwise": (1, 1, (0, 0, 0, 0), 1, 5, 7, 4, 3),
    "stem": (3, 2, (1, 1, 1, 1), 1, 3, 8, 11, 10),
    "depthwise": (5, 1, (2, 2, 2, 2), 6, 6, 6, 7, 9),
    "depthwise strided": (5, 2, (2, 2, 2, 2), 4, 4, 4, 8, 7),
    "uneven": (3, 2, (0, 1, 0, 1), 4, 4, 4, 8, 8),
    "padded differently on all sides": (3, 1, (0, 1, 2, 3), 2, 4, 6, 5, 4),
    "pixels no window reaches": (1, 2, (0, 0, 0, 0), 1, 2, 3, 6, 6),
    "smaller than the kernel": (5, 1, (2, 2, 2, 2), 3, 3, 3, 1, 2),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name, draw):
    kernel, stride, padding, groups, channels, outputs, height, width = CONVOLUTIONS[name]
    x, bias = draw(2, channels, height, width), draw(outputs)
    weight = draw(outputs, channels // groups, kernel, kernel)
    top, bottom, left, right = padding
    y = operations.conv2d(x, weight, bias, stride, padding, groups)
    dy = draw(*y.shape)

    def convolve(x, weight, bias):
        return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, stride, groups=groups)

    gradients = operations.conv2d_vjp(dy, x, weight, stride, padding, groups)
    assert_alike([y, *gradients], differentiated(convolve, dy, x, weight, bias))


def test_convolution_without_a_bias(draw):
    x, weight = draw(1, 2, 3, 3), draw(4, 2, 1, 1)
    zeros = np.zeros(4)
    assert_alike([operations.conv2d(x, weight)], [operations.conv2d(x, weight, zeros)])


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm(training, draw):
    x, weight, bias, mean, variance = draw(3, 4, 2, 5), draw(4), draw(4), draw(4), draw(4) ** 2
    dy, eps, momentum = draw(*x.shape), 1e-3, 0.3
    moved = torch.tensor(mean), torch.tensor(variance)

    def normalise(x, weight, bias):
        return F.batch_norm(x, *moved, weight, bias, training, momentum, eps)

    truth = differentiated(normalise, dy, x, weight, bias)
    if training:
        found = operations.batch_norm_training(x, weight, bias, mean, variance, eps, momentum)
        y, gradients = found.y, operations.batch_norm_training_vjp(dy, x, weight, eps)
        assert_alike([found.running_mean, found.running_variance], map(np.asarray, moved))
    else:
        y = operations.batch_norm(x, weight, bias, mean, variance, eps)
        gradients = operations.batch_norm_vjp(dy, x, weight, mean, variance, eps)
    assert_alike([y, *gradients], truth)


def test_dense(draw):
    x, weight, bias, dy = draw(3, 5), draw(4, 5), draw(4), draw(3, 4)
    ours = [operations.dense(x, weight, bias), *operations.dense_vjp(dy, x, weight)]
    assert_alike(ours, differentiated(F.linear, dy, x, weight, bias))


@pytest.mark.parametrize("name", ["sigmoid", "silu", "relu6"])
def test_activations(name, draw):
    x = np.concatenate([5 * draw(40), [0.0, 6.0, -50.0, 50.0]])
    dy = draw(*x.shape)
    theirs = torch.sigmoid if name == "sigmoid" else getattr(F, name)
    ours = [getattr(operations, name)(x), getattr(operations, f"{name}_vjp")(dy, x)]
    assert_alike(ours, differentiated(theirs, dy, x))


def test_no_size_of_a_number_overflows():
    x = np.array([-1e4, 1e4])
    np.testing.assert_array_equal(operations.sigmoid(x), [0, 1])
    np.testing.assert_array_equal(operations.silu_vjp(np.ones(2), x), [0, 1])
    np.testing.assert_array_equal(operations.log_softmax(x[None]), [[-2e4, 0]])


@pytest.mark.parametrize("keepdims", [False, True])
def test_mean(keepdims, draw):
    x = draw(2, 3, 5, 4)
    y = operations.mean(x, keepdims)
    dy = draw(*y.shape)
    truth = differentiated(lambda x: x.mean((2, 3), keepdim=keepdims), dy, x)
    assert_alike([y, operations.mean_vjp(dy, x)], truth)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 1, 1, 1)])
def test_scale(shape, draw):
    x, factors, dy = draw(2, 3, 4, 5), draw(*shape), draw(2, 3, 4, 5)
    ours = [operations.scale(x, factors), *operations.scale_vjp(dy, x, factors)]
    assert_alike(ours, differentiated(torch.mul, dy, x, factors))


def test_residual_sum(draw):
    x, y, dy = draw(2, 3), draw(2, 3), draw(2, 3)
    assert_alike([operations.residual_sum(x, y), dy, dy], differentiated(torch.add, dy, x, y))


def test_log_softmax(draw):
    logits, dy = 9 * draw(4, 7), draw(4, 7)
    ours = [operations.log_softmax(logits), operations.log_softmax_vjp(dy, logits)]
    assert_alike(ours, differentiated(lambda x: F.log_softmax(x, 1), dy, logits))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing, draw):
    logits, labels, dy = 3 * draw(4, 7), np.array([0, 6, 2, 2]), 0.7
    ours = [
        operations.cross_entropy(logits, labels, smoothing),
        operations.cross_entropy_vjp(dy, logits, labels, smoothing),
    ]
    for theirs in (
        lambda x: cross_entropy(x, torch.tensor(labels), smoothing),
        lambda x: F.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing),
    ):
        assert_alike(ours, differentiated(theirs, dy, logits))


@pytest.mark.parametrize("kind", ["rmsprop", "sgd"])
def test_optimizers(kind, draw):
    settings = Optimizer(kind, momentum=0.9, weight_decay=0.01, decay=0.8, eps=1e-2)
    start = draw(3, 4)
    tensor = torch.nn.Parameter(torch.tensor(start))
    optimizer = OPTIMIZERS[kind]([tensor], [True], settings)
    common = {"momentum": 0.9, "weight_decay": 0.01}
    state = operations.Slots(start, np.ones((3, 4)), np.zeros((3, 4)))
    weights, velocity = start, np.zeros((3, 4))
    for rate in (0.1, 0.03, 0.3):
        gradient = draw(3, 4)
        optimizer([torch.tensor(gradient)], rate)
        if kind == "rmsprop":
            state = operations.rmsprop_step(state, gradient, rate, decay=0.8, eps=1e-2, **common)
            expected = state
        else:
            weights, velocity = operations.sgd_step(weights, gradient, velocity, rate, **common)
            expected = weights, velocity
    slots = [slot[0].numpy() for slot in optimizer.slots.values()]
    assert_alike(expected, [tensor.detach().numpy(), *slots])


def test_ema(draw):
    average, values = draw(5), draw(5)
    twin = Average([torch.tensor(average)])
    twin.tensors[0].copy_(torch.tensor(values))
    twin(0.25)
    assert_alike([operations.ema_step(average, values, 0.75)], [twin.averages[0].numpy()])


def test_float32_is_widened_before_anything_is_computed(draw):
    x = draw(2, 3, 4, 4).astype(np.float32)
    weight = draw(5, 3, 1, 1).astype(np.float32)
    found = operations.conv2d(x, weight=weight)
    assert found.dtype == np.float64
    assert_alike([found], [operations.conv2d(x.astype(np.float64), weight.astype(np.float64))])
