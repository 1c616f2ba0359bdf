"""PyTorch's gradient of 5x5 depthwise weights on CPUs, which the twin computes in three parts."""

import onnx
import pytest
import torch

from tinynet.net.initialise import initial_state
from tinynet.spec import load_spec

from torch_impl.blocks import conv2d
from torch_impl.export import export_onnx


def run(channels, size, stride, images, dtype=torch.float32):
    """(y, dx, dw) of a layer, and whether the twin's own gradient was taken."""
    torch.manual_seed(0)
    layer = conv2d(channels, channels, 5, stride, (2, 2, 2, 2), channels).to(dtype)
    x = torch.randn(images, channels, *size).to(dtype, memory_format=torch.channels_last)
    y = layer(x.requires_grad_())
    dy = torch.randn(y.shape).to(dtype)
    own = "WideDepthwise" in str(y.grad_fn)
    return (y, *torch.autograd.grad(y, [x, layer.weight], dy)), own


# Fewer rows than the kernel wants, fewer columns, one of either, odd and even, several parts.
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("channels", "size", "images"),
    [
        (96, (27, 27), 8),
        (48, (26, 28), 8),
        (576, (4, 4), 16),
        (96, (3, 40), 8),
        (96, (40, 3), 8),
        (64, (1, 50), 32),
        (64, (50, 1), 32),
        (128, (2, 2), 150),
        (128, (5, 6), 40),
        (64, (60, 61), 10),
    ],
)
def test_it_is_the_gradient(channels, size, images, stride):
    ours, own = run(channels, size, stride, images)
    exact, theirs = run(channels, size, stride, images, torch.float64)
    assert (own, theirs) == (True, False)
    for found, expected in zip(ours, exact, strict=True):
        assert found.dtype == torch.float32
        error = (found - expected).abs().max() / expected.abs().max()
        assert error < 1e-5  # 3e-6 is measured, a column off gives 1


def test_what_pytorch_does_as_well_is_left_to_it():
    def layer(stride=1, groups=64, bias=False):
        return conv2d(64, 64, 5, stride, (2, 2, 2, 2), groups, bias)

    x = torch.randn(32, 64, 8, 8, requires_grad=True)
    assert "WideDepthwise" in str(layer()(x).grad_fn)
    for other in (layer(stride=3), layer(groups=1), layer(bias=True)):
        assert "WideDepthwise" not in str(other(x).grad_fn)
    assert "WideDepthwise" not in str(layer()(x[:8]).grad_fn)
    frozen = layer().requires_grad_(requires_grad=False)
    assert "WideDepthwise" not in str(frozen(x).grad_fn)
    assert "WideDepthwise" not in str(layer().eval()(x).grad_fn)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer()(x)
    y.sum().backward()
    assert x.grad is not None


def test_an_exported_batch_is_free(tmp_path):
    # An exporter that sees the size of its own batch asked for takes it for fixed.
    spec = load_spec("tinynet_e")
    export_onnx(spec, initial_state(spec, 0), tmp_path / "e.onnx")
    values = onnx.load(tmp_path / "e.onnx").graph.value_info
    values = [value for value in values if value.name.startswith("silu")]
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in values} == {"batch"}
