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
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from tinynet.utils.strict_json import (
    DocumentError,
    check_document,
    list_documents,
    parse_document,
    read_document,
)

SPEC_DIRECTORY = Path(__file__).parent / "specs"

Padding = tuple[int, int, int, int]  # top, bottom, left, right, in pixels
Kind = Literal["ds", "ir", "basic", "bottleneck"]

RESNET_KINDS = ("basic", "bottleneck")
# A bottleneck's 3x3 convolution is this many times narrower than what leaves the block.
# Source: He et al., Deep Residual Learning (arXiv 1512.03385), table 1.
BOTTLENECK_EXPANSION = 4


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
    """The first convolution, and the max pool behind it that a ResNet may have."""

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
        """The key of a stage, counted from 0; a block's is this, a dot and its own number."""
        return self.stage.format(index + self.first_stage)


# Source: timm's EfficientNet, torchvision's ResNet.
TINYNET_NAMES = Names("conv_stem", "blocks.{}", 0, "classifier")
RESNET_NAMES = Names("conv1", "layer{}", 1, "fc")


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """What a net is: one member of the family, fully determined.

    ``input_size`` is (channels, height, width). ``batch_norm`` is None where every batch norm is
    folded into the convolution before it, which then has a bias. Two specs are equal when they
    describe the same net with the same provenance; ``source``, a citation, does not count.
    """

    name: str
    input_size: tuple[int, int, int]
    num_classes: int
    activation: Literal["silu", "relu6", "relu"]
    batch_norm: BatchNorm | None
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head | None = None
    padding: Literal["symmetric", "same"] = "symmetric"
    preprocessing: Preprocessing = dataclasses.field(default_factory=Preprocessing)
    labels: str | tuple[str, ...] | None = None
    derivation: Derivation | None = None
    expected: Complexity | None = None
    source: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        channels = self.input_size[0]
        for field in ("mean", "std"):
            count = len(getattr(self.preprocessing, field))
            if count != channels:
                raise SpecError(
                    f"preprocessing.{field} has {count} numbers, expected "
                    f"{channels}, one per channel of input_size"
                )
        for index, stage in enumerate(self.stages):
            _check_stage(f"stages[{index}]", stage, self.is_resnet)
        self._check_family()
        if isinstance(self.labels, tuple) and len(self.labels) != self.num_classes:
            raise SpecError(
                f"labels has {len(self.labels)} names, expected num_classes = {self.num_classes}"
            )

    def _check_family(self) -> None:
        if not self.is_resnet:
            if self.head is None:
                raise SpecError('the key "head" is missing, expected an object with out_channels')
            if self.stem.pool is not None:
                raise SpecError("stem.pool is there, expected none (only a ResNet has one)")
            return
        if self.head is not None:
            raise SpecError("head is there, expected none (a ResNet has none)")
        if self.padding != "symmetric":
            raise SpecError(f'padding is "{self.padding}", expected "symmetric" in a ResNet')

    @property
    def is_resnet(self) -> bool:
        """Whether the net is of the ResNet family; else it is of TinyNet's."""
        return self.stages[0].kind in RESNET_KINDS

    @property
    def names(self) -> Names:
        """What the net's family calls its parts."""
        return RESNET_NAMES if self.is_resnet else TINYNET_NAMES

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
        """Height and width behind the stem's convolution."""
        size = self.input_size[1:]
        return _convolved(size, self.stem.kernel_size, self.stem.stride, self.stem_padding)

    @property
    def pooled_size(self) -> tuple[int, int]:
        """Height and width behind the stem's pool, where it has one: what the blocks are given."""
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
        """The same net with another classifier, for fine-tuning.

        Derivation and expected counts are dropped, since they describe the original classifier.
        """
        return dataclasses.replace(
            self, num_classes=num_classes, labels=labels, derivation=None, expected=None
        )

    @property
    def sha256(self) -> str:
        """Hash of everything that says what the net is (all but ``source``), as hexadecimal."""
        document = spec_document(self)
        document.pop("source", None)
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def list_specs() -> list[str]:
    """Names of the specs that are shipped, in alphabetical order."""
    return list_documents(SPEC_DIRECTORY)


def load_spec(name_or_path: str | os.PathLike[str]) -> Spec:
    """Loads a shipped spec by its name, or any spec by the path of its JSON file.

    Raises:
        SpecError: no such spec, or a file that is not a valid one.
    """
    try:
        text = read_document(name_or_path, SPEC_DIRECTORY, "spec")
        return parse_spec(text, source=os.fspath(name_or_path))
    except SpecError:
        raise
    except DocumentError as error:
        raise SpecError(str(error)) from None


def parse_spec(text: str, source: str = "spec") -> Spec:
    """Parses a spec's JSON text.

    Args:
        text: the JSON document; ``tinynet/specs/spec.schema.json`` is its schema.
        source: what to call it in errors.

    Raises:
        SpecError: naming the source, the JSON path, what was found and what was expected.
    """
    try:
        document = parse_document(text, source)
        if not _is_shipped(document):
            check_document(document, _schema(), source)
    except DocumentError as error:
        raise SpecError(str(error)) from None
    try:
        return _build(document)
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from None


def spec_document(spec: Spec) -> dict[str, Any]:
    """The spec as a JSON document: the inverse of :func:`parse_spec`."""
    document: dict[str, Any] = {"$schema": "spec.schema.json", "spec_version": 1}
    document["name"] = spec.name
    if spec.source:
        document["source"] = spec.source
    document["input_size"] = list(spec.input_size)
    document["num_classes"] = spec.num_classes
    if spec.labels is not None:
        document["labels"] = spec.labels if isinstance(spec.labels, str) else list(spec.labels)
    document["activation"] = spec.activation
    if spec.padding != "symmetric":
        document["padding"] = spec.padding
    document["batch_norm"] = spec.batch_norm and dataclasses.asdict(spec.batch_norm)
    document["stem"] = _without_none(dataclasses.asdict(spec.stem))
    document["stages"] = [_without_none(dataclasses.asdict(stage)) for stage in spec.stages]
    if spec.head is not None:
        document["head"] = dataclasses.asdict(spec.head)
    if spec.preprocessing != Preprocessing():
        document["preprocessing"] = dataclasses.asdict(spec.preprocessing) | {
            key: list(getattr(spec.preprocessing, key)) for key in ("mean", "std")
        }
    if spec.derivation is not None:
        document["derivation"] = dataclasses.asdict(spec.derivation)
    if spec.expected is not None:
        document["expected"] = dataclasses.asdict(spec.expected)
    return document


def format_spec(spec: Spec) -> str:
    """The spec as JSON text for people: one line per key and one per stage."""
    lines: list[str] = []
    for key, value in spec_document(spec).items():
        if key == "stages":
            rows = ",\n".join(f"    {json.dumps(stage)}" for stage in value)
            lines.append(f'  "stages": [\n{rows}\n  ]')
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _check_stage(place: str, stage: Stage, is_resnet: bool) -> None:
    if (stage.kind in RESNET_KINDS) != is_resnet:
        kinds = RESNET_KINDS if is_resnet else ("ds", "ir")
        raise SpecError(
            f'{place}.kind is "{stage.kind}", expected "{kinds[0]}" or "{kinds[1]}" '
            "(the first stage's family)"
        )
    if not is_resnet:
        if stage.expand_ratio is None:
            raise SpecError(
                f'the key "expand_ratio" is missing in {place}, expected a whole number from 1 to '
                "64"
            )
        if stage.kind == "ds" and stage.expand_ratio != 1:
            raise SpecError(
                f"{place}.expand_ratio is {stage.expand_ratio}, expected "
                'the number 1 (a "ds" block does not expand)'
            )
        return
    for field in ("expand_ratio", "se_ratio"):
        if getattr(stage, field) is not None:
            raise SpecError(f'{place}.{field} is there, expected none (kind "{stage.kind}")')
    if stage.kind == "bottleneck" and stage.out_channels % BOTTLENECK_EXPANSION:
        raise SpecError(
            f"{place}.out_channels is {stage.out_channels}, expected a multiple of "
            f"{BOTTLENECK_EXPANSION} (a bottleneck's)"
        )


def _is_shipped(document: Any) -> bool:
    # The library that checks schemas takes longer to import than all the rest of a command. A
    # test holds the shipped specs against the schema, so an equal document needs no check.
    name = cast("dict[str, Any]", document).get("name") if isinstance(document, dict) else None
    if name not in list_specs():
        return False
    shipped = (SPEC_DIRECTORY / f"{name}.json").read_text(encoding="utf-8")
    # As text, since 1 == 1.0 == True in Python but not in the schema.
    return json.dumps(document, sort_keys=True) == json.dumps(json.loads(shipped), sort_keys=True)


@cache
def _schema() -> dict[str, Any]:
    return json.loads((SPEC_DIRECTORY / "spec.schema.json").read_text(encoding="utf-8"))


def _build(document: dict[str, Any]) -> Spec:
    # Every key of the document is a field of Spec, but for these two.
    fields = {k: v for k, v in document.items() if k not in ("$schema", "spec_version")}
    # JSON Schema counts 8.0 as an integer; a channel count must be an int all the same.
    fields["input_size"] = tuple(int(n) for n in fields["input_size"])
    fields["num_classes"] = int(fields["num_classes"])
    if fields["batch_norm"] is not None:
        fields["batch_norm"] = BatchNorm(**{k: float(v) for k, v in fields["batch_norm"].items()})
    fields["stem"] = _build_stem(fields["stem"])
    fields["stages"] = tuple(_build_stage(stage) for stage in fields["stages"])
    if "head" in fields:
        fields["head"] = Head(out_channels=int(fields["head"]["out_channels"]))
    if "preprocessing" in fields:
        values = fields["preprocessing"]
        for key in ("mean", "std"):
            values[key] = tuple(float(number) for number in values[key])
        values["crop_fraction"] = float(values["crop_fraction"])
        fields["preprocessing"] = Preprocessing(**values)
    if isinstance(fields.get("labels"), list):
        fields["labels"] = tuple(fields["labels"])
    if "derivation" in fields:
        twist = Twist(**{k: float(v) for k, v in fields["derivation"]["twist"].items()})
        fields["derivation"] = Derivation(fields["derivation"]["base"], twist)
    if "expected" in fields:
        fields["expected"] = Complexity(**{k: int(v) for k, v in fields["expected"].items()})
    return Spec(**fields)


def _build_stem(stem: dict[str, Any]) -> Stem:
    kernel_size, stride, out_channels = (
        int(stem[key]) for key in ("kernel_size", "stride", "out_channels")
    )
    pool = None
    if "pool" in stem:
        pool = Pool(**{k: int(v) for k, v in stem["pool"].items()})
    return Stem(kernel_size, stride, out_channels, pool)


def _build_stage(stage: dict[str, Any]) -> Stage:
    integers: dict[str, int | None] = {"expand_ratio": None}
    integers |= {k: int(v) for k, v in stage.items() if k not in ("kind", "se_ratio")}
    se_ratio = float(stage["se_ratio"]) if "se_ratio" in stage else None
    return Stage(kind=stage["kind"], se_ratio=se_ratio, **cast("dict[str, Any]", integers))


def _stage_blocks(
    stage_key: str, stage: Stage, in_channels: int, in_size: tuple[int, int], padding_mode: str
) -> Iterator[Block]:
    for index in range(stage.repeats):
        stride = stage.stride if index == 0 else 1
        padding = _padding(padding_mode, stage.kernel_size, stride, in_size)
        out_size = _convolved(in_size, stage.kernel_size, stride, padding)
        yield Block(
            key=f"{stage_key}.{index}",
            kind=stage.kind,
            in_channels=in_channels,
            mid_channels=_mid_channels(stage, in_channels),
            out_channels=stage.out_channels,
            kernel_size=stage.kernel_size,
            stride=stride,
            padding=padding,
            se_channels=max(1, round(in_channels * stage.se_ratio)) if stage.se_ratio else 0,
            has_skip=stride == 1 and in_channels == stage.out_channels,
            in_size=in_size,
            out_size=out_size,
        )
        in_channels, in_size = stage.out_channels, out_size


def _mid_channels(stage: Stage, in_channels: int) -> int:
    if stage.expand_ratio is not None:
        return in_channels * stage.expand_ratio
    if stage.kind == "basic":
        return stage.out_channels
    return stage.out_channels // BOTTLENECK_EXPANSION


def _padding(mode: str, kernel_size: int, stride: int, size: tuple[int, int]) -> Padding:
    if mode == "symmetric":
        side = kernel_size // 2
        return (side, side, side, side)
    # TensorFlow's SAME: ceil(n / stride) outputs, the odd pixel of padding behind.
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
