"""The architecture spec: JSON in, frozen dataclasses out, every block resolved to plain integers.

A twin never rounds, divides or decides: it builds what ``Spec.blocks()`` says.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

from tinynet.block_kinds import BLOCK_KINDS, RESNET, Family, Kind, Names
from tinynet.utils.dataclass_json import from_document, to_document
from tinynet.utils.strict_json import (
    DocumentError,
    check_document,
    format_document,
    list_documents,
    load_schema,
    parse_document,
    raised_as,
    read_document,
)

SPEC_DIRECTORY = Path(__file__).parent / "specs"

Padding = tuple[int, int, int, int]  # top, bottom, left, right, in pixels


class SpecError(DocumentError):
    """A spec that is malformed, inconsistent or unknown. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class BatchNorm:
    """Batch normalisation: ``momentum`` is PyTorch's, the weight of the new batch."""

    eps: float
    momentum: float


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """A max pool."""

    kernel_size: int
    stride: int

    @property
    def padding(self) -> int:
        """Pixels on every side, none of which is ever the maximum."""
        return self.kernel_size // 2


@dataclasses.dataclass(frozen=True, slots=True)
class Stem:
    """The first convolution, and the max pool after it that a ResNet may have."""

    kernel_size: int
    stride: int
    out_channels: int
    pool: Pool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A run of ``repeats`` blocks of one kind; only the first of them strides.

    ``expand_ratio`` is None in a ResNet, whose blocks take their width from ``out_channels``.
    ``se_ratio`` is the squeezed share of each block's *input* channels, None for no
    squeeze-excite.
    """

    kind: Kind
    repeats: int
    kernel_size: int
    stride: int
    expand_ratio: int | None
    out_channels: int
    se_ratio: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """The last 1x1 convolution, before pooling and classifier."""

    out_channels: int


@dataclasses.dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a photograph becomes the net's input; part of the spec, since weights are worthless
    without it.

    ``mean`` and ``std`` are per channel, in units of full brightness (0 to 1). The defaults are
    ImageNet's statistics and timm's TinyNet configuration (crop 0.875, bicubic).
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop_fraction: float = 0.875
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"


@dataclasses.dataclass(frozen=True, slots=True)
class Twist:
    """Multipliers of resolution, depth and width relative to a base spec, each positive."""

    resolution: float
    depth: float
    width: float


@dataclasses.dataclass(frozen=True, slots=True)
class Derivation:
    """Where a spec came from: the name of its base and the twist applied to it."""

    base: str
    twist: Twist


@dataclasses.dataclass(frozen=True, slots=True)
class Complexity:
    """Exact totals: multiply-accumulates for one image, and trained parameters."""

    macs: int
    params: int


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One block with every number resolved; sizes are (height, width) in pixels.

    ``se_channels`` is 0 where there is no squeeze-excite. ``has_skip`` says whether the input is
    added as it is; where it is not, a block of a ResNet adds a projection of it.
    """

    key: str
    kind: Kind
    in_channels: int
    mid_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    padding: Padding
    se_channels: int
    has_skip: bool
    in_size: tuple[int, int]
    out_size: tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a net is: one member of the family, fully determined.

    ``input_size`` is (channels, height, width). ``batch_norm`` is None where every batch norm is
    folded into the convolution before it, which then has a bias. Two specs are equal when they
    describe the same net with the same provenance; ``source``, a citation, does not count. The
    fields are in the order of the document's keys.
    """

    name: str
    source: str = dataclasses.field(default="", compare=False)
    input_size: tuple[int, int, int]
    num_classes: int
    labels: str | tuple[str, ...] | None = None
    activation: Literal["silu", "relu6", "relu"]
    padding: Literal["symmetric", "same"] = "symmetric"
    batch_norm: BatchNorm | None
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head | None = None
    preprocessing: Preprocessing = dataclasses.field(default_factory=Preprocessing)
    derivation: Derivation | None = None
    expected: Complexity | None = None

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise SpecError(problem)

    def _problems(self) -> Iterator[str]:
        channels = self.input_size[0]
        for field in ("mean", "std"):
            found = len(getattr(self.preprocessing, field))
            if found != channels:
                expected = f"expected {channels}, one per channel of input_size"
                yield f"preprocessing.{field} has {found} numbers, {expected}"
        for index, stage in enumerate(self.stages):
            place, kind = f"stages[{index}]", BLOCK_KINDS[stage.kind]
            if kind.family is not self.family:
                kinds = [f'"{k.name}"' for k in BLOCK_KINDS.values() if k.family is self.family]
                found, expected = f'{place}.kind is "{stage.kind}"', " or ".join(kinds)
                yield f"{found}, expected {expected} (the first stage's family)"
            yield from kind.problems(stage, place)
        yield from self.family.problems(self)
        if isinstance(self.labels, tuple) and len(self.labels) != self.num_classes:
            found = len(self.labels)
            yield f"labels has {found} names, expected num_classes = {self.num_classes}"

    @property
    def family(self) -> Family:
        """What the net shares with its family, which its first stage decides."""
        return BLOCK_KINDS[self.stages[0].kind].family

    @property
    def is_resnet(self) -> bool:
        """Whether the net is a ResNet; else it is of TinyNet's family."""
        return self.family is RESNET

    @property
    def names(self) -> Names:
        """What the net's family calls its parts."""
        return self.family.names

    @property
    def feature_channels(self) -> int:
        """Channels of the last feature map, which the classifier sees the means of."""
        return self.stages[-1].out_channels if self.head is None else self.head.out_channels

    @property
    def stem_padding(self) -> Padding:
        """Padding of the stem convolution, in pixels."""
        return _padding(self.padding, self.stem.kernel_size, self.stem.stride, self.input_size[1:])

    @property
    def stem_out_size(self) -> tuple[int, int]:
        """Height and width after the stem's convolution, in pixels."""
        size = self.input_size[1:]
        return _convolved(size, self.stem.kernel_size, self.stem.stride, self.stem_padding)

    @property
    def pooled_size(self) -> tuple[int, int]:
        """Height and width that the blocks are given: after the stem's pool, if it has one."""
        size, pool = self.stem_out_size, self.stem.pool
        if pool is None:
            return size
        padding = _padding("symmetric", pool.kernel_size, pool.stride, size)
        return _convolved(size, pool.kernel_size, pool.stride, padding)

    def blocks(self) -> tuple[Block, ...]:
        """Resolves every block, in the order data flows through them."""
        return tuple(block for stage in self.blocks_by_stage() for block in stage)

    def blocks_by_stage(self) -> tuple[tuple[Block, ...], ...]:
        """Resolves every block, grouped by stage."""
        in_channels, in_size = self.stem.out_channels, self.pooled_size
        stages: list[tuple[Block, ...]] = []
        for index, stage in enumerate(self.stages):
            key = self.names.stage_key(index)
            blocks = list(_stage_blocks(key, stage, in_channels, in_size, self.padding))
            in_channels, in_size = stage.out_channels, blocks[-1].out_size
            stages.append(tuple(blocks))
        return tuple(stages)

    def with_classes(self, num_classes: int, labels: tuple[str, ...] | None = None) -> Spec:
        """Returns the same net with another classifier, for fine-tuning.

        Derivation and expected counts are dropped, since they describe the original classifier.
        """
        return dataclasses.replace(
            self, num_classes=num_classes, labels=labels, derivation=None, expected=None
        )

    @property
    def sha256(self) -> str:
        """Hash of everything that says what the net is (all but ``source``), as hexadecimal."""
        document = spec_document(dataclasses.replace(self, source=""))
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def list_specs() -> list[str]:
    """Returns the names of the specs that are shipped, in alphabetical order."""
    return list_documents(SPEC_DIRECTORY)


def load_spec(name_or_path: str | os.PathLike[str]) -> Spec:
    """Loads a shipped spec by its name, or any spec by the path of its JSON file.

    Raises:
        SpecError: no such spec, or a file that is not a valid one.
    """
    with raised_as(SpecError):
        text = read_document(name_or_path, SPEC_DIRECTORY, "spec")
    return parse_spec(text, source=os.fspath(name_or_path))


def parse_spec(text: str, source: str = "spec") -> Spec:
    """Parses a spec's JSON text.

    Args:
        text: the JSON document; ``tinynet/specs/spec.schema.json`` is its schema.
        source: what to call it in errors.

    Raises:
        SpecError: naming the source, the JSON path, what was found and what was expected.
    """
    with raised_as(SpecError):
        document = parse_document(text, source)
        if not _is_shipped(document):
            check_document(document, load_schema(SPEC_DIRECTORY / "spec.schema.json"), source)
    # Every key of the document is a field of Spec, but for these two.
    fields = {k: v for k, v in document.items() if k not in ("$schema", "spec_version")}
    fields["stages"] = [{"expand_ratio": None} | stage for stage in fields["stages"]]
    try:
        return from_document(Spec, fields)
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from None


def spec_document(spec: Spec) -> dict[str, Any]:
    """Returns the spec as a JSON document: the inverse of :func:`parse_spec`.

    Keys whose values are the defaults are left out.
    """
    defaults = {"source": "", "padding": "symmetric", "preprocessing": to_document(Preprocessing())}
    values = {"batch_norm": None} | to_document(spec)
    document = {"$schema": "spec.schema.json", "spec_version": 1}
    order = (field.name for field in dataclasses.fields(Spec))
    return document | {
        key: values[key] for key in order if key in values and values[key] != defaults.get(key, ...)
    }


def format_spec(spec: Spec) -> str:
    """Returns the spec as JSON text for people: one line per key and one per stage."""
    return format_document(spec_document(spec), rows="stages")


def _is_shipped(document: Any) -> bool:
    # The library that checks schemas takes longer to import than all the rest of a command. A
    # test holds the shipped specs against the schema, so an equal document needs no check.
    name = cast("dict[str, Any]", document).get("name") if isinstance(document, dict) else None
    if name not in list_specs():
        return False
    shipped = (SPEC_DIRECTORY / f"{name}.json").read_text(encoding="utf-8")
    # As text, since 1 == 1.0 == True in Python but not in the schema.
    return json.dumps(document, sort_keys=True) == json.dumps(json.loads(shipped), sort_keys=True)


def _stage_blocks(
    stage_key: str, stage: Stage, in_channels: int, in_size: tuple[int, int], padding_mode: str
) -> Iterator[Block]:
    kind = BLOCK_KINDS[stage.kind]
    for index in range(stage.repeats):
        stride = stage.stride if index == 0 else 1
        padding = _padding(padding_mode, stage.kernel_size, stride, in_size)
        out_size = _convolved(in_size, stage.kernel_size, stride, padding)
        yield Block(
            key=f"{stage_key}.{index}",
            kind=stage.kind,
            in_channels=in_channels,
            mid_channels=kind.mid_channels(stage, in_channels),
            out_channels=stage.out_channels,
            kernel_size=stage.kernel_size,
            stride=stride,
            padding=padding,
            se_channels=max(1, round(in_channels * stage.se_ratio)) if stage.se_ratio else 0,
            has_skip=kind.has_skip(in_channels, stage.out_channels, stride),
            in_size=in_size,
            out_size=out_size,
        )
        in_channels, in_size = stage.out_channels, out_size


def _padding(mode: str, kernel_size: int, stride: int, size: tuple[int, int]) -> Padding:
    if mode == "symmetric":
        side = kernel_size // 2
        return (side, side, side, side)
    # TensorFlow's SAME: ceil(n / stride) outputs, the odd pixel of padding at the end.
    sides: list[int] = []
    for pixels in size:
        total = max(0, (math.ceil(pixels / stride) - 1) * stride + kernel_size - pixels)
        sides += [total // 2, total - total // 2]
    return (sides[0], sides[1], sides[2], sides[3])


def _convolved(
    size: tuple[int, int], kernel_size: int, stride: int, padding: Padding
) -> tuple[int, int]:
    top, bottom, left, right = padding
    height = (size[0] + top + bottom - kernel_size) // stride + 1
    width = (size[1] + left + right - kernel_size) // stride + 1
    return (height, width)
