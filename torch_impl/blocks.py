"""The building blocks in PyTorch. Every size arrives resolved; shapes are (N, C, H, W).

Child names are timm's and torchvision's, so that parameter names are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tinynet.spec import BatchNorm, Block, Padding, Pool

from torch_impl.tuning import WideDepthwiseConv2d, channel_means


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
    top, bottom, left, right = padding
    is_depthwise = groups == in_channels == out_channels
    if is_depthwise and (kernel_size, *padding) == (5, 2, 2, 2, 2) and stride < 3:
        return WideDepthwiseConv2d(in_channels, stride, bias)
    if top == bottom and left == right:
        return nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, (top, left), groups=groups, bias=bias
        )
    return _UnevenConv2d(
        padding, in_channels, out_channels, kernel_size, stride, groups=groups, bias=bias
    )


class _UnevenConv2d(nn.Conv2d):
    # nn.Conv2d pads both sides alike; TensorFlow's "same" padding does not.
    def __init__(self, padding: Padding, *args: int, groups: int, bias: bool):
        super().__init__(*args, groups=groups, bias=bias)
        top, bottom, left, right = padding
        self.sides = (left, right, top, bottom)  # F.pad counts from the last axis

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(input, self.sides))


def batch_norm(channels: int, settings: BatchNorm | None) -> nn.Module:
    """Builds batch normalisation over (N, H, W), or the identity where it is folded."""
    if settings is None:
        return nn.Identity()
    return nn.BatchNorm2d(channels, eps=settings.eps, momentum=settings.momentum)


def activation(name: str) -> nn.Module:
    """Builds the activation that a spec names."""
    return {"silu": nn.SiLU, "relu6": nn.ReLU6, "relu": nn.ReLU}[name]()


def max_pool(pool: Pool) -> nn.MaxPool2d:
    """Builds the stem's pool: (N, C, H, W) to (N, C, h, w)."""
    return nn.MaxPool2d(pool.kernel_size, pool.stride, pool.padding)


class GlobalAveragePool(nn.Module):
    """Mean over height and width: (N, C, H, W) to (N, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channels' means; keeps the shape."""

    def __init__(self, channels: int, squeezed: int, activation_name: str):
        super().__init__()
        self.conv_reduce = conv2d(channels, squeezed, bias=True)
        self.act1 = activation(activation_name)
        self.conv_expand = conv2d(squeezed, channels, bias=True)
        self.gate = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self._gates(channel_means(x, self.training))

    def _gates(self, means: torch.Tensor) -> torch.Tensor:
        return self.gate(self.conv_expand(self.act1(self.conv_reduce(means))))


def drop_path(y: torch.Tensor, factors: torch.Tensor | None) -> torch.Tensor:
    """Scales each sample's residual branch: (N, C, H, W) by (N,) factors, None for no change."""
    return y if factors is None else y * factors[:, None, None, None]


class DepthwiseSeparable(nn.Module):
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

    def forward(self, x: torch.Tensor, factors: torch.Tensor | None = None) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv_dw(x)))
        y = self.se(y)
        y = self.bn2(self.conv_pw(y))
        return x + drop_path(y, factors) if self.has_skip else y


class InvertedResidual(nn.Module):
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

    def forward(self, x: torch.Tensor, factors: torch.Tensor | None = None) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv_pw(x)))
        y = self.act2(self.bn2(self.conv_dw(y)))
        y = self.se(y)
        y = self.bn3(self.conv_pwl(y))
        return x + drop_path(y, factors) if self.has_skip else y


class BasicBlock(nn.Module):
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

    def forward(self, x: torch.Tensor, factors: torch.Tensor | None = None) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.act2(self.downsample(x) + drop_path(y, factors))


class Bottleneck(nn.Module):
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

    def forward(self, x: torch.Tensor, factors: torch.Tensor | None = None) -> torch.Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.act3(self.downsample(x) + drop_path(y, factors))


class Downsample(nn.Sequential):
    """The projection that is added where a block's input has another shape than its output."""

    def __init__(self, block: Block, settings: BatchNorm | None):
        super().__init__(
            conv2d(
                block.in_channels, block.out_channels, stride=block.stride, bias=settings is None
            ),
            batch_norm(block.out_channels, settings),
        )


def downsample(block: Block, settings: BatchNorm | None) -> nn.Module:
    """Builds the block's projection, or the identity where the input is added unchanged."""
    return nn.Identity() if block.has_skip else Downsample(block, settings)


def squeeze_excite(block: Block, activation_name: str) -> nn.Module:
    """Builds the block's squeeze-excite, or the identity where it has none."""
    if not block.se_channels:
        return nn.Identity()
    return SqueezeExcite(block.mid_channels, block.se_channels, activation_name)


BLOCK_KINDS: dict[str, type[nn.Module]] = {
    "ds": DepthwiseSeparable,
    "ir": InvertedResidual,
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}
