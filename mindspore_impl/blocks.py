"""The building blocks in MindSpore. Every size arrives resolved; shapes are (N, C, H, W).

Child names are timm's and torchvision's, so that parameter names are, but for batch norm's leaves.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from tinynet.spec import BatchNorm, Block, Padding, Pool

from mindspore_impl.tuning import scale_by_rows


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Builds a convolution with explicit padding (top, bottom, left, right) in pixels."""
    # The default pad_mode is "same". Weights are zeros until a state is written, which is much
    # faster than drawing numbers that are not used.
    zeros = {"weight_init": "zeros", "bias_init": "zeros"}
    sides = {"pad_mode": "pad", "padding": padding}
    sizes = in_channels, out_channels, kernel_size, stride
    return nn.Conv2d(*sizes, **sides, group=groups, has_bias=bias, **zeros)


def batch_norm(channels: int, settings: BatchNorm | None) -> nn.Cell:
    """Builds batch normalisation over (N, H, W), or the identity where it is folded."""
    if settings is None:
        return nn.Identity()
    # MindSpore's momentum is the weight of the old statistics: the one place that knows.
    return nn.BatchNorm2d(channels, eps=settings.eps, momentum=1.0 - settings.momentum)


def activation(name: str) -> nn.Cell:
    """Builds the activation that a spec names."""
    return {"silu": nn.SiLU, "relu6": nn.ReLU6, "relu": nn.ReLU}[name]()


def max_pool(pool: Pool) -> nn.MaxPool2d:
    """Builds the stem's pool: (N, C, H, W) to (N, C, h, w)."""
    # With pad_mode "pad" what is added is never the maximum; "same" would add it at the end only.
    return nn.MaxPool2d(pool.kernel_size, pool.stride, pad_mode="pad", padding=pool.padding)


class GlobalAveragePool(nn.Cell):
    """Mean over height and width: (N, C, H, W) to (N, C)."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return ops.mean(x, (2, 3))  # 40 times closer to float64 than the pooling kernel


class SqueezeExcite(nn.Cell):
    """Scales each channel by a gate computed from all channels' means; keeps the shape."""

    def __init__(self, channels: int, squeezed: int, activation_name: str):
        super().__init__()
        self.conv_reduce = conv2d(channels, squeezed, bias=True)
        self.act1 = activation(activation_name)
        self.conv_expand = conv2d(squeezed, channels, bias=True)
        self.gate = nn.Sigmoid()
        # Not on accelerators, nor in ONNX files, which are for other kernels.
        self.by_rows = ms.get_context("device_target") == "CPU"

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if self.by_rows:
            return scale_by_rows(x, self._gates)
        return x * self._gates(ops.mean(x, (2, 3), keep_dims=True))

    def _gates(self, means: ms.Tensor) -> ms.Tensor:
        return self.gate(self.conv_expand(self.act1(self.conv_reduce(means))))


def drop_path(y: ms.Tensor, factors: ms.Tensor | None) -> ms.Tensor:
    """Scales each sample's residual branch: (N, C, H, W) by (N,) factors, None for no change."""
    return y if factors is None else y * factors[:, None, None, None]


class DepthwiseSeparable(nn.Cell):
    """Depthwise convolution, squeeze-excite, pointwise convolution without activation."""

    def __init__(self, block: Block, settings: BatchNorm | None, activation_name: str):
        super().__init__()
        mid, bias = block.mid_channels, settings is None
        self.conv_dw = conv2d(mid, mid, block.kernel_size, block.stride, block.padding, mid, bias)
        self.bn1 = batch_norm(mid, settings)
        self.act1 = activation(activation_name)
        self.se = squeeze_excite(block, activation_name)
        self.conv_pw = conv2d(mid, block.out_channels, bias=bias)
        self.bn2 = batch_norm(block.out_channels, settings)
        self.has_skip = block.has_skip

    def construct(self, x: ms.Tensor, factors: ms.Tensor | None = None) -> ms.Tensor:
        y = self.act1(self.bn1(self.conv_dw(x)))
        y = self.se(y)
        y = self.bn2(self.conv_pw(y))
        return x + drop_path(y, factors) if self.has_skip else y


class InvertedResidual(nn.Cell):
    """Expansion, depthwise convolution, squeeze-excite, projection without activation."""

    def __init__(self, block: Block, settings: BatchNorm | None, activation_name: str):
        super().__init__()
        mid, bias = block.mid_channels, settings is None
        self.conv_pw = conv2d(block.in_channels, mid, bias=bias)
        self.bn1 = batch_norm(mid, settings)
        self.act1 = activation(activation_name)
        self.conv_dw = conv2d(mid, mid, block.kernel_size, block.stride, block.padding, mid, bias)
        self.bn2 = batch_norm(mid, settings)
        self.act2 = activation(activation_name)
        self.se = squeeze_excite(block, activation_name)
        self.conv_pwl = conv2d(mid, block.out_channels, bias=bias)
        self.bn3 = batch_norm(block.out_channels, settings)
        self.has_skip = block.has_skip

    def construct(self, x: ms.Tensor, factors: ms.Tensor | None = None) -> ms.Tensor:
        y = self.act1(self.bn1(self.conv_pw(x)))
        y = self.act2(self.bn2(self.conv_dw(y)))
        y = self.se(y)
        y = self.bn3(self.conv_pwl(y))
        return x + drop_path(y, factors) if self.has_skip else y


class BasicBlock(nn.Cell):
    """Two convolutions, of which the first strides; the activation follows the sum."""

    def __init__(self, block: Block, settings: BatchNorm | None, activation_name: str):
        super().__init__()
        mid, out, kernel = block.mid_channels, block.out_channels, block.kernel_size
        bias = settings is None
        self.conv1 = conv2d(block.in_channels, mid, kernel, block.stride, block.padding, bias=bias)
        self.bn1 = batch_norm(mid, settings)
        self.act1 = activation(activation_name)
        self.conv2 = conv2d(mid, out, kernel, 1, block.padding, bias=bias)
        self.bn2 = batch_norm(out, settings)
        self.downsample = downsample(block, settings)
        self.act2 = activation(activation_name)

    def construct(self, x: ms.Tensor, factors: ms.Tensor | None = None) -> ms.Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.act2(self.downsample(x) + drop_path(y, factors))


class Bottleneck(nn.Cell):
    """A convolution between two of 1x1, which narrow and widen; the activation follows the sum."""

    def __init__(self, block: Block, settings: BatchNorm | None, activation_name: str):
        super().__init__()
        mid, out, bias = block.mid_channels, block.out_channels, settings is None
        self.conv1 = conv2d(block.in_channels, mid, bias=bias)
        self.bn1 = batch_norm(mid, settings)
        self.act1 = activation(activation_name)
        self.conv2 = conv2d(mid, mid, block.kernel_size, block.stride, block.padding, bias=bias)
        self.bn2 = batch_norm(mid, settings)
        self.act2 = activation(activation_name)
        self.conv3 = conv2d(mid, out, bias=bias)
        self.bn3 = batch_norm(out, settings)
        self.downsample = downsample(block, settings)
        self.act3 = activation(activation_name)

    def construct(self, x: ms.Tensor, factors: ms.Tensor | None = None) -> ms.Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.act3(self.downsample(x) + drop_path(y, factors))


class Downsample(nn.SequentialCell):
    """The projection that is added where a block's input has another shape than its output."""

    def __init__(self, block: Block, settings: BatchNorm | None):
        super().__init__(
            conv2d(
                block.in_channels, block.out_channels, stride=block.stride, bias=settings is None
            ),
            batch_norm(block.out_channels, settings),
        )


def downsample(block: Block, settings: BatchNorm | None) -> nn.Cell:
    """Builds the block's projection, or the identity where the input is added unchanged."""
    return nn.Identity() if block.has_skip else Downsample(block, settings)


def squeeze_excite(block: Block, activation_name: str) -> nn.Cell:
    """Builds the block's squeeze-excite, or the identity where it has none."""
    if not block.se_channels:
        return nn.Identity()
    return SqueezeExcite(block.mid_channels, block.se_channels, activation_name)


BLOCK_KINDS: dict[str, type[nn.Cell]] = {
    "ds": DepthwiseSeparable,
    "ir": InvertedResidual,
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}
