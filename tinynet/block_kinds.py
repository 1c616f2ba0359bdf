"""The kinds of blocks, and the families of nets that are made of them: one class for each kind.

A new kind of block is a class here and one in each twin's ``blocks.py``; its name goes into the
schema's list. ``parity/reference/net.py`` defines the kind once more, independently.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from tinynet.spec import Block, Spec, Stage

Kind = Literal["ds", "ir", "basic", "bottleneck"]


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """What a family calls its parts: how canonical keys begin.

    Attributes:
        stem: the first convolution.
        stage: a stage, to be formatted with its number.
        first_stage: the number of the first stage.
        classifier: the linear layer at the end.
    """

    stem: str
    stage: str
    first_stage: int
    classifier: str

    def stage_key(self, index: int) -> str:
        """Returns the key of a stage, counted from 0; a block's is this, a dot and its number."""
        return self.stage.format(index + self.first_stage)


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """What the nets of a family have in common beside their blocks.

    Attributes:
        names: of its parts.
        has_head: whether a 1x1 convolution stands between the blocks and the pooling.
        may_pool: whether a max pool may follow the stem.
        paddings: the values of ``Spec.padding`` that the family takes.
        classifier_fan: which side of the classifier its initial weights are scaled by.
        draws_bias: whether initial biases are drawn like the classifier's weights; else they are 0.
        last_block_has_whole_rate: whether drop-path rises to its rate in the last block; else it
            would reach the rate in a block after the last.
    """

    names: Names
    has_head: bool
    may_pool: bool
    paddings: tuple[str, ...]
    classifier_fan: Literal["in", "out"]
    draws_bias: bool
    last_block_has_whole_rate: bool

    def problems(self, spec: Spec) -> Iterator[str]:
        """Yields what contradicts the family in a spec, each as an error says it."""
        if self.has_head and spec.head is None:
            yield 'the key "head" is missing, expected an object with out_channels'
        if spec.head is not None and not self.has_head:
            yield "head is there, expected none (a ResNet has none)"
        if spec.stem.pool is not None and not self.may_pool:
            yield "stem.pool is there, expected none (only a ResNet has one)"
        if spec.padding not in self.paddings:
            yield f'padding is "{spec.padding}", expected "symmetric" in a ResNet'


# Source: timm's EfficientNet for names and drop-path; the EfficientNet reference code (TensorFlow
# TPU models, ``dense_kernel_initializer``) for the classifier.
TINYNET = Family(
    Names("conv_stem", "blocks.{}", 0, "classifier"),
    has_head=True,
    may_pool=False,
    paddings=("symmetric", "same"),
    classifier_fan="out",
    draws_bias=False,
    last_block_has_whole_rate=False,
)
# Source: torchvision's ``resnet.py`` for names; ``torch.nn.Linear`` for the classifier; timm's
# ``resnet.py`` for drop-path.
RESNET = Family(
    Names("conv1", "layer{}", 1, "fc"),
    has_head=False,
    may_pool=True,
    paddings=("symmetric",),
    classifier_fan="in",
    draws_bias=True,
    last_block_has_whole_rate=True,
)


class Convolution(NamedTuple):
    """A convolution of a net.

    Attributes:
        key: canonical, in a block from the block's own on.
        norm: key of the batch norm that follows; empty for none, then it has a bias.
        in_channels: of its input.
        out_channels: of its output.
        out_size: height and width of its output, in pixels.
        kernel_size: side of its square kernel, in pixels.
        groups: into how many groups its channels fall.
    """

    key: str
    norm: str
    in_channels: int
    out_channels: int
    out_size: tuple[int, int]
    kernel_size: int = 1
    groups: int = 1


class BlockKind(ABC):
    """Everything that is particular to a kind of block.

    Attributes:
        name: of the kind in a spec.
        family: of nets that have such blocks.
        projects: whether the input is projected (1x1 convolution) and added where it does not have
            the output's shape; else nothing is added there.
        ratios: the optional keys of a stage that the kind takes; ``expand_ratio`` it also needs.
        expansion: how many times wider the output is than the middle: a stage's ``out_channels``
            must be a multiple of it, and a twist rounds the middle.
    """

    name: ClassVar[Kind]
    family: ClassVar[Family]
    projects: ClassVar[bool] = False
    ratios: ClassVar[tuple[str, ...]] = ("expand_ratio", "se_ratio")
    expansion: ClassVar[int] = 1

    def problems(self, stage: Stage, place: str) -> Iterator[str]:
        """Yields what contradicts the kind in a stage, each as an error says it.

        Args:
            stage: of this kind.
            place: what an error calls the stage, such as ``stages[3]``.
        """
        if "expand_ratio" in self.ratios and stage.expand_ratio is None:
            expected = "expected a whole number from 1 to 64"
            yield f'the key "expand_ratio" is missing in {place}, {expected}'
        for key in ("expand_ratio", "se_ratio"):
            if key not in self.ratios and getattr(stage, key) is not None:
                yield f'{place}.{key} is there, expected none (kind "{stage.kind}")'
        if stage.out_channels % self.expansion:
            found, expected = stage.out_channels, f"expected a multiple of {self.expansion}"
            yield f"{place}.out_channels is {found}, {expected} (a {self.name}'s)"

    @abstractmethod
    def mid_channels(self, stage: Stage, in_channels: int) -> int:
        """Returns the channels inside a block of a stage that is given ``in_channels``."""

    @abstractmethod
    def convolutions(self, block: Block) -> Iterator[Convolution]:
        """Yields the convolutions of a block, in the order of its canonical keys."""

    def has_skip(self, in_channels: int, out_channels: int, stride: int) -> bool:
        """Returns whether a block adds its input unchanged: where the shapes are the same."""
        return stride == 1 and in_channels == out_channels


class DepthwiseSeparable(BlockKind):
    """A depthwise convolution, squeeze-excite and a 1x1 convolution."""

    name, family = "ds", TINYNET

    def problems(self, stage: Stage, place: str) -> Iterator[str]:
        yield from super().problems(stage, place)
        if stage.expand_ratio != 1:
            expected = 'expected the number 1 (a "ds" block does not expand)'
            yield f"{place}.expand_ratio is {stage.expand_ratio}, {expected}"

    def mid_channels(self, stage: Stage, in_channels: int) -> int:
        return in_channels

    def convolutions(self, block: Block) -> Iterator[Convolution]:
        mid, size = block.mid_channels, block.out_size
        yield Convolution("conv_dw", "bn1", mid, mid, size, block.kernel_size, groups=mid)
        yield from _squeeze_excite(block)
        yield Convolution("conv_pw", "bn2", mid, block.out_channels, size)


class InvertedResidual(BlockKind):
    """A 1x1 convolution that expands, a depthwise one, squeeze-excite, a 1x1 that projects."""

    name, family = "ir", TINYNET

    def mid_channels(self, stage: Stage, in_channels: int) -> int:
        return in_channels * (stage.expand_ratio or 1)

    def convolutions(self, block: Block) -> Iterator[Convolution]:
        mid, size = block.mid_channels, block.out_size
        yield Convolution("conv_pw", "bn1", block.in_channels, mid, block.in_size)
        yield Convolution("conv_dw", "bn2", mid, mid, size, block.kernel_size, groups=mid)
        yield from _squeeze_excite(block)
        yield Convolution("conv_pwl", "bn3", mid, block.out_channels, size)


class Basic(BlockKind):
    """Two convolutions of the stage's kernel size, of which the first strides."""

    name, family, projects = "basic", RESNET, True
    ratios = ()

    def mid_channels(self, stage: Stage, in_channels: int) -> int:
        return stage.out_channels

    def convolutions(self, block: Block) -> Iterator[Convolution]:
        mid, size, kernel_size = block.mid_channels, block.out_size, block.kernel_size
        yield Convolution("conv1", "bn1", block.in_channels, mid, size, kernel_size)
        yield Convolution("conv2", "bn2", mid, block.out_channels, size, kernel_size)
        yield from _projection(block)


class Bottleneck(BlockKind):
    """A 1x1 convolution that narrows, one of the stage's kernel size that strides, a 1x1 one.

    Source: He et al., Deep Residual Learning (arXiv 1512.03385), table 1, for the expansion;
    torchvision's ResNet (version 1.5) for the convolution that strides.
    """

    name, family, projects = "bottleneck", RESNET, True
    ratios = ()
    expansion = 4

    def mid_channels(self, stage: Stage, in_channels: int) -> int:
        return stage.out_channels // self.expansion

    def convolutions(self, block: Block) -> Iterator[Convolution]:
        mid, size = block.mid_channels, block.out_size
        yield Convolution("conv1", "bn1", block.in_channels, mid, block.in_size)
        yield Convolution("conv2", "bn2", mid, mid, size, block.kernel_size)
        yield Convolution("conv3", "bn3", mid, block.out_channels, size)
        yield from _projection(block)


BLOCK_KINDS: dict[str, BlockKind] = {
    kind.name: kind for kind in (DepthwiseSeparable(), InvertedResidual(), Basic(), Bottleneck())
}


def _squeeze_excite(block: Block) -> Iterator[Convolution]:
    if block.se_channels:
        mid, squeezed = block.mid_channels, block.se_channels
        yield Convolution("se.conv_reduce", "", mid, squeezed, (1, 1))
        yield Convolution("se.conv_expand", "", squeezed, mid, (1, 1))


def _projection(block: Block) -> Iterator[Convolution]:
    if not block.has_skip:
        channels = block.in_channels, block.out_channels
        yield Convolution("downsample.0", "downsample.1", *channels, block.out_size)
