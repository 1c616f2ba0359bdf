"""The training loss against PyTorch's own in float64: value and gradient."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tinynet.backend import FRAMEWORKS, load_backend

both = pytest.mark.parametrize("framework", FRAMEWORKS)
EPS = np.finfo(np.float32).eps


def loss_and_gradient(framework, logits, labels, smoothing, dtype="float32"):
    cross_entropy = load_backend(framework).loss.cross_entropy
    if framework == "torch":
        x = torch.tensor(logits, dtype=getattr(torch, dtype), requires_grad=True)
        loss = cross_entropy(x, torch.tensor(labels), smoothing)
        (gradient,) = torch.autograd.grad(loss, [x])
        return loss.item(), gradient.numpy()
    import mindspore as ms

    def function(x):
        return cross_entropy(x, ms.Tensor(labels, ms.int32), smoothing)

    loss, gradient = ms.value_and_grad(function)(ms.Tensor(logits, ms.float32))
    return float(loss.asnumpy()), gradient.asnumpy()


def reference(logits, labels, smoothing):
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(loss, [x])
    return loss.item(), gradient.numpy()


@both
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("count", "classes"), [(1, 2), (7, 10), (32, 1000)])
def test_value_and_gradient(framework, smoothing, count, classes):
    random = np.random.default_rng(count)
    logits = (3 * random.standard_normal((count, classes))).astype(np.float32)
    labels = random.integers(0, classes, count)
    expected, slope = reference(logits, labels, smoothing)
    loss, gradient = loss_and_gradient(framework, logits, labels, smoothing)
    # Some tens of roundings of numbers no larger than the largest log-probability, and
    # MindSpore's approximate exp (5e-6), which enters the gradient.
    largest = np.abs(np.log(np.exp(-np.ptp(logits)) / classes))
    assert abs(loss - expected) < 20 * EPS * largest
    assert np.abs(gradient - slope).max() < 1e-5 / count


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_torch_in_float64_is_exact(smoothing):
    random = np.random.default_rng(0)
    logits, labels = random.standard_normal((5, 9)), random.integers(0, 9, 5)
    expected, slope = reference(logits, labels, smoothing)
    loss, gradient = loss_and_gradient("torch", logits, labels, smoothing, "float64")
    assert abs(loss - expected) < 1e-14
    assert np.abs(gradient - slope).max() < 1e-15


@both
def test_large_logits_do_not_overflow(framework):
    logits = np.array([[1e4, -1e4, 0.0], [-3e4, 3e4, 3e4]], np.float32)
    labels = np.array([1, 2])
    expected, slope = reference(logits, labels, 0.1)
    loss, gradient = loss_and_gradient(framework, logits, labels, 0.1)
    assert abs(loss / expected - 1) < 1e-6
    assert np.abs(gradient - slope).max() < 1e-5


@both
def test_by_hand(framework):
    # Two classes, equal logits: log 2 whatever the smoothing. Else 1 - s + s / K of the target.
    loss, gradient = loss_and_gradient(framework, np.zeros((1, 2)), np.array([0]), 0.1)
    assert abs(loss - np.log(2)) < 5e-6  # MindSpore's exp
    np.testing.assert_allclose(gradient, [[0.5 - 0.95, 0.5 - 0.05]], atol=5e-6)


def test_torch_takes_labels_of_any_integer_type():
    logits = torch.zeros(2, 3)
    for dtype in (torch.int32, torch.int64, torch.uint8):
        load_backend("torch").loss.cross_entropy(logits, torch.tensor([0, 2], dtype=dtype))
