"""One layer table, from which multiply-accumulates, parameters and activations are counted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Literal

from tinynet.spec import Block, Complexity, Spec


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A layer with parameters. ``output_shape`` is (C, H, W), or (C,) behind the pooling."""

    key: str
    op: Literal["conv2d", "batch_norm", "linear"]
    in_channels: int
    out_channels: int
    output_shape: tuple[int, ...]
    kernel_size: int = 1
    groups: int = 1
    bias: bool = False

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight: (O, I / groups, k, k), (O, I), or (C,)."""
        if self.op == "batch_norm":
            return (self.out_channels,)
        if self.op == "linear":
            return (self.out_channels, self.in_channels)
        k = self.kernel_size
        return (self.out_channels, self.in_channels // self.groups, k, k)

    @property
    def params(self) -> int:
        """Trained parameters: the weight, and a bias where there is one."""
        has_bias = self.bias or self.op == "batch_norm"
        return math.prod(self.weight_shape) + has_bias * self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image.

        Convolutions and linear layers; biases, batch norm (folded away in deployment),
        activations and pooling count nothing, as in the papers.
        """
        if self.op == "batch_norm":
            return 0
        return math.prod(self.weight_shape) * math.prod(self.output_shape[1:])

    @property
    def activations(self) -> int:
        """Numbers written by a convolution or linear layer for one image.

        Source: Radosavovic et al., Designing Network Design Spaces (arXiv 2003.13678), section 3.
        """
        return 0 if self.op == "batch_norm" else math.prod(self.output_shape)


def layers(spec: Spec) -> tuple[Layer, ...]:
    """Every layer with parameters, in the order data flows through them."""
    table = _layers(spec)
    if spec.batch_norm is not None:
        return tuple(table)
    # Folded, each batch norm has left its convolution a bias.
    return tuple(dataclasses.replace(one, bias=True) for one in table if one.op != "batch_norm")


def count(spec: Spec) -> Complexity:
    """Exact multiply-accumulates (one image) and trained parameters of a spec."""
    table = layers(spec)
    return Complexity(sum(layer.macs for layer in table), sum(layer.params for layer in table))


def _layers(spec: Spec) -> Iterator[Layer]:
    stem = spec.stem
    yield from _conv_norm(
        "", spec.names.stem, "bn1", spec.input_size[0], stem.out_channels, spec.stem_out_size,
        kernel_size=stem.kernel_size,
    )  # fmt: skip
    blocks = spec.blocks()
    for block in blocks:
        yield from _BLOCK_LAYERS[block.kind](block)
    last, out = blocks[-1], spec.feature_channels
    if spec.head is not None:
        yield from _conv_norm("", "conv_head", "bn2", last.out_channels, out, last.out_size)
    classes = spec.num_classes
    yield Layer(spec.names.classifier, "linear", out, classes, (classes,), bias=True)


def _ds_layers(block: Block) -> Iterator[Layer]:
    prefix, mid = f"{block.key}.", block.mid_channels
    yield from _depthwise(block, "conv_dw", "bn1")
    yield from _squeeze_excite(block)
    yield from _conv_norm(prefix, "conv_pw", "bn2", mid, block.out_channels, block.out_size)


def _ir_layers(block: Block) -> Iterator[Layer]:
    prefix, mid = f"{block.key}.", block.mid_channels
    yield from _conv_norm(prefix, "conv_pw", "bn1", block.in_channels, mid, block.in_size)
    yield from _depthwise(block, "conv_dw", "bn2")
    yield from _squeeze_excite(block)
    yield from _conv_norm(prefix, "conv_pwl", "bn3", mid, block.out_channels, block.out_size)


def _basic_layers(block: Block) -> Iterator[Layer]:
    prefix, mid, out, size = f"{block.key}.", block.mid_channels, block.out_channels, block.out_size
    kernel = block.kernel_size
    yield from _conv_norm(prefix, "conv1", "bn1", block.in_channels, mid, size, kernel)
    yield from _conv_norm(prefix, "conv2", "bn2", mid, out, size, kernel)
    yield from _downsample(block)


def _bottleneck_layers(block: Block) -> Iterator[Layer]:
    prefix, mid, out, size = f"{block.key}.", block.mid_channels, block.out_channels, block.out_size
    yield from _conv_norm(prefix, "conv1", "bn1", block.in_channels, mid, block.in_size)
    yield from _conv_norm(prefix, "conv2", "bn2", mid, mid, size, block.kernel_size)
    yield from _conv_norm(prefix, "conv3", "bn3", mid, out, size)
    yield from _downsample(block)


def _downsample(block: Block) -> Iterator[Layer]:
    if not block.has_skip:
        yield from _conv_norm(
            f"{block.key}.downsample.", "0", "1", block.in_channels, block.out_channels,
            block.out_size,
        )  # fmt: skip


def _depthwise(block: Block, conv: str, norm: str) -> Iterator[Layer]:
    mid = block.mid_channels
    yield from _conv_norm(
        f"{block.key}.", conv, norm, mid, mid, block.out_size,
        kernel_size=block.kernel_size, groups=mid,
    )  # fmt: skip


def _squeeze_excite(block: Block) -> Iterator[Layer]:
    if block.se_channels:
        mid, squeezed, key = block.mid_channels, block.se_channels, f"{block.key}.se"
        yield Layer(f"{key}.conv_reduce", "conv2d", mid, squeezed, (squeezed, 1, 1), bias=True)
        yield Layer(f"{key}.conv_expand", "conv2d", squeezed, mid, (mid, 1, 1), bias=True)


def _conv_norm(
    prefix: str,
    conv: str,
    norm: str,
    in_channels: int,
    out_channels: int,
    out_size: tuple[int, int],
    kernel_size: int = 1,
    groups: int = 1,
) -> Iterator[Layer]:
    shape = (out_channels, *out_size)
    yield Layer(prefix + conv, "conv2d", in_channels, out_channels, shape, kernel_size, groups)
    yield Layer(prefix + norm, "batch_norm", out_channels, out_channels, shape)


_BLOCK_LAYERS: dict[str, Callable[[Block], Iterator[Layer]]] = {
    "ds": _ds_layers,
    "ir": _ir_layers,
    "basic": _basic_layers,
    "bottleneck": _bottleneck_layers,
}
