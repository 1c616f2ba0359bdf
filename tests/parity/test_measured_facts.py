"""What docs/parity.md says of the frameworks, measured again: run with -s to see the numbers.

A fact that a new release of a framework changes fails here, and the page and the bounds that
rest on it are then due for another look.
"""

from unittest import mock

import mindspore as ms
import numpy as np
import pytest
import torch
from mindspore import nn

from tinynet.backend import FRAMEWORKS, load_backend
from tinynet.deploy import onnx_file
from tinynet.deploy.onnx_file import OnnxError
from tinynet.spec import load_spec

import mindspore_impl.export
from parity import inputs
from parity.distances import relative_error

TORCH, MINDSPORE = (load_backend(name, tune=True) for name in FRAMEWORKS)


@pytest.fixture(scope="module")
def lite0():
    spec = load_spec("efficientnet_lite0")
    return spec, inputs.sample_state(spec, 0, TORCH)


def steps():
    """Two flat areas, a channel brighter than the other: (4, 8, 53, 53)."""
    images = np.full((4, 8, 53, 53), 0.7, np.float32)
    images[:, :, :13] = 0.1
    return images * np.linspace(0.5, 2, 8, dtype=np.float32)[:, None, None]


def batch_norm_errors(images):
    """Worst channel's distance from float64 in training: PyTorch's, MindSpore's."""
    channels = images.shape[1]
    truth = torch.nn.BatchNorm2d(channels).double()(torch.tensor(images).double())
    answers = (
        torch.nn.BatchNorm2d(channels)(torch.tensor(images)).detach().numpy(),
        nn.BatchNorm2d(channels).set_train(True)(ms.Tensor(images)).asnumpy(),
    )
    truth = truth.detach().numpy()
    return [max(map(relative_error, _by_channel(a), _by_channel(truth))) for a in answers]


def _by_channel(values):
    return list(np.moveaxis(values, 1, 0))


def test_batch_norm_in_training_on_noise():
    noise = np.random.default_rng(0).standard_normal((4, 8, 53, 53)).astype(np.float32) + 3
    ours, theirs = batch_norm_errors(noise)
    print(f"batch norm, noise: PyTorch {ours:.1e}, MindSpore {theirs:.1e}")
    assert ours < 5e-7
    assert theirs < 2e-6


def test_batch_norm_in_training_on_flat_areas():
    ours, theirs = batch_norm_errors(steps())
    print(f"batch norm, flat areas: PyTorch {ours:.1e}, MindSpore {theirs:.1e}")
    assert ours < 5e-7
    assert 5e-6 < theirs < 5e-5


@pytest.mark.parametrize(
    ("name", "cell", "function"),
    [
        ("sigmoid", nn.Sigmoid, torch.sigmoid),
        ("SiLU", nn.SiLU, torch.nn.functional.silu),
    ],
)
def test_gates(name, cell, function):
    x = np.linspace(-4, 4, 100_000, dtype=np.float32)  # an even number, so that none is 0
    truth = function(torch.tensor(x).double()).numpy()
    ours = np.abs(function(torch.tensor(x)).numpy() / truth - 1).max()
    theirs = np.abs(cell()(ms.Tensor(x)).asnumpy() / truth - 1).max()
    print(f"{name} from -4 to 4: PyTorch {ours:.1e}, MindSpore {theirs:.1e}")
    assert ours < 2e-7
    assert 1e-6 < theirs < 5e-6


def test_uneven_padding_leaves_mindspore_in_another_order(lite0, tmp_path):
    spec, state = lite0
    right = onnx_file.export_checked("mindspore", spec, state, tmp_path / "right.onnx")
    print(f"lite0 from MindSpore: logits off by {right:.1e} standard deviations")
    assert right < 1e-4
    uncorrected = mock.patch.object(mindspore_impl.export, "_reorder_pads", return_value=None)
    with uncorrected, pytest.raises(OnnxError, match="differ by") as caught:
        onnx_file.export_checked("mindspore", spec, state, tmp_path / "wrong.onnx")
    print(f"without the correction: {caught.value}")


def test_float32_gradients_of_a_non_smooth_net_are_far_from_float64(lite0):
    spec, state = lite0
    images, labels = inputs.pixels(spec, 4, 1), inputs.labels(spec, 4, 0)

    def gradients(twin, **settings):
        net = twin.probe.build(spec, state, **settings)
        return twin.probe.gradients(net, images, labels, 0.1).parameters

    truth = gradients(TORCH, precision="float64")
    for twin in (TORCH, MINDSPORE):
        found = gradients(twin)
        median = np.median([relative_error(found[key], truth[key]) for key in truth])
        print(f"lite0's gradients in {twin.name}, median over parameters: {median:.1e}")
        assert 1e-3 < median < 5e-2


def test_pynative_and_graph_mode_are_the_same_bits_layer_by_layer():
    spec = load_spec("tinynet_e")
    state, images = inputs.sample_state(spec, 0, TORCH), inputs.pixels(spec, 2, 0)
    traces = [
        MINDSPORE.probe.trace(MINDSPORE.probe.build(spec, state), images, mode)
        for mode in MINDSPORE.predict.MODES
    ]
    assert traces[0].keys() == traces[1].keys()
    for name, pynative in traces[0].items():
        assert pynative.output.tobytes() == traces[1][name].output.tobytes(), name
    print(f"tinynet_e: PyNative and graph mode alike in all {len(traces[0])} layers")


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 33])
def test_mindspores_rmsprop_has_two_formulas(size):
    # Whole blocks of eight have eps outside the root, the rest have it inside, as documented. So
    # the twin has an RMSProp of its own; where this fails, look whether it still needs one.
    parameter = ms.Parameter(ms.Tensor(np.zeros(size, np.float32)), name="p")
    optimizer = nn.RMSProp([parameter], learning_rate=1.0, decay=0.9, momentum=0.0, epsilon=1e-3)
    mean_square, inside, outside = 1.0, 0.0, 0.0
    for _ in range(100):
        optimizer((ms.Tensor(np.full(size, 0.01, np.float32)),))
        mean_square = 0.9 * mean_square + 0.1 * 0.01**2
        inside -= 0.01 / np.sqrt(mean_square + 1e-3)
        outside -= 0.01 / (np.sqrt(mean_square) + 1e-3)
    found, blocks = parameter.asnumpy(), size // 8 * 8
    np.testing.assert_allclose(found[:blocks], outside, rtol=1e-4)
    np.testing.assert_allclose(found[blocks:], inside, rtol=1e-4)
    print(
        f"nn.RMSProp, {size}: blocks of eight move {outside / inside:.2f} times as far as the rest"
    )
