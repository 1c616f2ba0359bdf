"""What the layers of a net are, as a person reads it in the spec: names, kinds, strides, skips.

It is worked out here once more, apart from ``Spec.blocks()``, which both twins are built from.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tinynet.spec import Padding, Spec

NET = ""  # the name of the whole net among its layers
HEAD = ("conv_head", "bn2", "act2")
# The layers of a block, in order, by the block's kind.
BLOCKS = {
    "ds": ("conv_dw", "bn1", "act1", "se", "conv_pw", "bn2"),
    "ir": ("conv_pw", "bn1", "act1", "conv_dw", "bn2", "act2", "se", "conv_pwl", "bn3"),
    "basic": ("conv1", "bn1", "act1", "conv2", "bn2", "downsample", "act2"),
    "bottleneck": (
        *("conv1", "bn1", "act1", "conv2", "bn2", "act2"),
        *("conv3", "bn3", "downsample", "act3"),
    ),
}
# The convolution of a block that strides. Source: torchvision's ResNet (version 1.5) for the last.
STRIDED = {"ds": "conv_dw", "ir": "conv_dw", "basic": "conv1", "bottleneck": "conv2"}
SQUEEZE_EXCITE = ("conv_reduce", "act1", "conv_expand", "gate")
DOWNSAMPLE = {"0": "conv", "1": "bn"}
# The kinds of layers that hold no other layer; the last part of a name begins with its kind.
KINDS = ("conv", "bn", "act", "gate", "maxpool", "global_pool", "classifier", "fc")


class Row(NamedTuple):
    """What a block is, apart from its weights."""

    kind: str
    stride: int
    has_skip: bool
    has_excite: bool


def kind(name: str) -> str:
    """Returns which of :data:`KINDS` a layer is; empty for one that has layers in it."""
    parent, _, leaf = name.rpartition(".")
    if leaf_of(parent) == "downsample":
        return DOWNSAMPLE[leaf]
    return next((kind for kind in KINDS if leaf.startswith(kind)), "")


def rows(spec: Spec) -> dict[str, Row]:
    """Returns what each block must be, by its key, in the order data flows.

    Source: only the first block of a stage strides; a block has a skip where it changes neither
    the size nor the channels (Sandler et al., MobileNetV2, arXiv 1801.04381, section 3.3).
    """
    found: dict[str, Row] = {}
    channels = spec.stem.out_channels
    for index, stage in enumerate(spec.stages):
        for place in range(stage.repeats):
            stride = stage.stride if place == 0 else 1
            skip = stride == 1 and channels == stage.out_channels
            key = f"{spec.names.stage_key(index)}.{place}"
            found[key] = Row(stage.kind, stride, skip, bool(stage.se_ratio))
            channels = stage.out_channels
    return found


def padding(mode: str, kernel_size: int, stride: int, size: tuple[int, ...]) -> Padding:
    """Returns the zeros at (top, bottom, left, right) of an image of (height, width) pixels.

    Source: "same" is TensorFlow's: so much that ceil(n / stride) pixels come out, the odd one
    at the bottom and right.
    """
    if mode == "symmetric":
        side = kernel_size // 2
        return side, side, side, side
    top, left = (
        max(0, (math.ceil(pixels / stride) - 1) * stride + kernel_size - pixels) for pixels in size
    )
    return top // 2, top - top // 2, left // 2, left - left // 2


def leaf_of(name: str) -> str:
    """Returns the last part of a layer's name."""
    return name.rpartition(".")[2]
