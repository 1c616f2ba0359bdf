"""Random valid specs, anything that a user may write, as a strategy for hypothesis.

Every choice shrinks towards the smallest net: one stage of one block, one channel, one pixel.
"""

import dataclasses

from hypothesis import strategies as st

from tinynet.block_kinds import BLOCK_KINDS
from tinynet.spec import (
    BatchNorm,
    Head,
    Pool,
    Preprocessing,
    Spec,
    Stage,
    Stem,
)

KERNEL_SIZES = st.sampled_from([1, 3, 5, 7])
STRIDES = st.integers(1, 3)
SHARES = st.floats(0, 1, exclude_min=True, allow_subnormal=False)


@st.composite
def specs(draw):
    """A small valid spec, with all that a spec may say."""
    net = draw(nets() | resnets())
    return dataclasses.replace(
        net,
        preprocessing=draw(preprocessings(net.input_size[0])),
        labels=draw(st.none() | labels(net.num_classes)),
    )


@st.composite
def nets(draw, least_side=1, most_side=40, least_channels=1, least_classes=1):
    """A small valid spec, plain in all that does not make another net.

    Args:
        draw: from hypothesis.
        least_side: of the input, in pixels.
        most_side: of the input, in pixels.
        least_channels: of stem, stages and head.
        least_classes: of the classifier.
    """
    in_channels = draw(st.sampled_from([1, 3, 4, 2]))
    sides = st.integers(least_side, most_side)
    side = draw(sides)
    return Spec(
        name="random",
        input_size=(in_channels, side, draw(st.just(side) | sides)),
        num_classes=draw(st.integers(least_classes, 30)),
        activation=draw(st.sampled_from(["silu", "relu6"])),
        batch_norm=draw(batch_norms()),
        stem=Stem(draw(KERNEL_SIZES), draw(STRIDES), draw(st.integers(least_channels, 24))),
        stages=tuple(draw(st.lists(stages(least_channels), min_size=1, max_size=4))),
        head=Head(draw(st.integers(least_channels, 40))),
        padding=draw(st.sampled_from(["symmetric", "same"])),
        preprocessing=Preprocessing((0.5,) * in_channels, (0.25,) * in_channels),
    )


@st.composite
def resnets(draw, least_side=1, most_side=40, least_channels=1, least_classes=1):
    """The same for a ResNet; of bottlenecks ``least_channels`` counts the middle."""
    in_channels = draw(st.sampled_from([1, 3, 4, 2]))
    sides = st.integers(least_side, most_side)
    side = draw(sides)
    pool = draw(st.none() | st.builds(Pool, KERNEL_SIZES, STRIDES))
    stem = Stem(draw(KERNEL_SIZES), draw(STRIDES), draw(st.integers(least_channels, 24)), pool)
    return Spec(
        name="random",
        input_size=(in_channels, side, draw(st.just(side) | sides)),
        num_classes=draw(st.integers(least_classes, 30)),
        activation=draw(st.sampled_from(["relu", "silu", "relu6"])),
        batch_norm=draw(batch_norms()),
        stem=stem,
        stages=tuple(draw(st.lists(resnet_stages(least_channels), min_size=1, max_size=4))),
        preprocessing=Preprocessing((0.5,) * in_channels, (0.25,) * in_channels),
    )


@st.composite
def resnet_stages(draw, least_channels):
    kind = draw(st.sampled_from(["basic", "bottleneck"]))
    channels = draw(st.integers(least_channels, 24))
    return Stage(
        kind=kind,
        repeats=draw(st.integers(1, 3)),
        kernel_size=draw(KERNEL_SIZES),
        stride=draw(STRIDES),
        expand_ratio=None,
        out_channels=channels * BLOCK_KINDS[kind].expansion,
    )


@st.composite
def stages(draw, least_channels):
    kind = draw(st.sampled_from(["ds", "ir"]))
    return Stage(
        kind=kind,
        repeats=draw(st.integers(1, 3)),
        kernel_size=draw(KERNEL_SIZES),
        stride=draw(STRIDES),
        expand_ratio=1 if kind == "ds" else draw(st.integers(1, 6)),
        out_channels=draw(st.integers(least_channels, 24)),
        se_ratio=draw(st.none() | st.sampled_from([0.25, 0.5, 1.0]) | SHARES),
    )


def batch_norms():
    return st.builds(BatchNorm, st.sampled_from([1e-5, 1e-3]), st.sampled_from([0.1, 0.01, 1.0]))


def preprocessings(channels):
    def of_each_channel(least):
        return st.tuples(*[st.floats(least, 1)] * channels)

    interpolation = st.sampled_from(["bicubic", "bilinear"])
    return st.builds(
        Preprocessing, of_each_channel(0), of_each_channel(0.1), st.floats(0.5, 1), interpolation
    )


def labels(classes):
    names = st.text(max_size=4)
    return st.lists(names, min_size=classes, max_size=classes).map(tuple)
