"""One layer table, from which multiply-accumulates, parameters and activations are counted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

from tinynet.block_kinds import BLOCK_KINDS, Convolution
from tinynet.spec import Complexity, Spec


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A layer with parameters. ``output_shape`` is (C, H, W), or (C,) after the pooling."""

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
    """Returns every layer with parameters, in the order data flows through them."""
    table = _layers(spec)
    if spec.batch_norm is not None:
        return tuple(table)
    # Folded, each batch norm has left its convolution a bias.
    return tuple(dataclasses.replace(one, bias=True) for one in table if one.op != "batch_norm")


def count(spec: Spec) -> Complexity:
    """Counts exact multiply-accumulates (one image) and trained parameters of a spec."""
    table = layers(spec)
    return Complexity(sum(layer.macs for layer in table), sum(layer.params for layer in table))


def _layers(spec: Spec) -> Iterator[Layer]:
    stem, in_channels, size = spec.stem, spec.input_size[0], spec.stem_out_size
    shapes = (in_channels, stem.out_channels, size, stem.kernel_size)
    yield from _conv_norm("", Convolution(spec.names.stem, "bn1", *shapes))
    for block in spec.blocks():
        for convolution in BLOCK_KINDS[block.kind].convolutions(block):
            yield from _conv_norm(f"{block.key}.", convolution)
    out = spec.feature_channels
    if spec.head is not None:
        last = spec.blocks()[-1]
        head = Convolution("conv_head", "bn2", last.out_channels, out, last.out_size)
        yield from _conv_norm("", head)
    yield Layer(
        spec.names.classifier, "linear", out, spec.num_classes, (spec.num_classes,), bias=True
    )


def _conv_norm(prefix: str, conv: Convolution) -> Iterator[Layer]:
    out, shape = conv.out_channels, (conv.out_channels, *conv.out_size)
    how = (conv.kernel_size, conv.groups, not conv.norm)
    yield Layer(prefix + conv.key, "conv2d", conv.in_channels, out, shape, *how)
    if conv.norm:
        yield Layer(prefix + conv.norm, "batch_norm", out, out, shape)
