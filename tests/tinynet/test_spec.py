import copy
import dataclasses
import json
import math

import pytest
from hypothesis import given

from tinynet.spec import (
    SPEC_DIRECTORY,
    Block,
    format_spec,
    list_specs,
    load_spec,
    parse_spec,
    spec_document,
)
from tinynet.utils.strict_json import check_document

from random_specs import specs
from spec_documents import ALL, PHOTO, TEXT, changed


def test_the_shipped_specs():
    assert list_specs() == ALL
    for name in ALL:
        assert load_spec(name).name == name


@pytest.mark.parametrize("name", ALL)
def test_loaded_by_name_and_by_path(name):
    path = SPEC_DIRECTORY / f"{name}.json"
    assert load_spec(name) == load_spec(path) == load_spec(str(path))


@pytest.mark.parametrize("name", ALL)
def test_a_shipped_file_is_what_the_schema_asks_for(name):
    # parse_spec relies on it: it does not check them again.
    schema = json.loads((SPEC_DIRECTORY / "spec.schema.json").read_text())
    check_document(json.loads((SPEC_DIRECTORY / f"{name}.json").read_text()), schema, name)


@pytest.mark.parametrize("name", ALL)
def test_a_shipped_file_is_what_format_spec_writes(name):
    assert format_spec(load_spec(name)) == (SPEC_DIRECTORY / f"{name}.json").read_text()


@given(specs())
def test_parsing_what_was_formatted_gives_the_same(spec):
    again = parse_spec(format_spec(spec))
    assert again == spec
    assert again.sha256 == spec.sha256
    assert spec_document(again) == spec_document(spec)


def test_whole_numbers_written_as_floats_are_integers():
    spec = parse_spec(TEXT.replace("1280", "1280.0").replace('"stride": 2', '"stride": 2.0'))
    assert spec == load_spec("tinynet_c")
    assert spec.sha256 == load_spec("tinynet_c").sha256
    assert isinstance(spec.head.out_channels, int)
    assert isinstance(spec.stages[1].stride, int)


def test_ratios_written_as_integers_make_the_same_net():
    as_integer = parse_spec(changed("stages", 0, "se_ratio", to=1))
    as_float = parse_spec(changed("stages", 0, "se_ratio", to=1.0))
    assert as_integer == as_float
    assert as_integer.sha256 == as_float.sha256


# A checkpoint carries its spec's hash: another hash of the same net breaks every file there is.
@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("efficientnet_b0", "a786fdd68bd22334e9d6f3eafda0cd9a692bcc92c94e1b4b3acace850f61ec95"),
        ("efficientnet_lite0", "6251e916f39fa47fa5a69e439f401be59c8165dcc10c7e25b47f8d7f14c45b9a"),
        ("tinynet_a", "c0958d2348de723a0051a8c746fea338966c5b56e31b0d4ec975b0fca8635ee5"),
        ("tinynet_b", "84af7ff6f48731deaca8ae1c717426c6318fb2394c4cca061b9bbe4566acffd8"),
        ("tinynet_c", "f429a01531453d912bedfe5677567aa479c630641f8474588160b84fd2dd0b23"),
        ("tinynet_d", "862982e393fffcad7d215987ababc31c9054e4f58ea4b8a6fe1d9a697e51d81a"),
        (
            "tinynet_digits",
            "1031ff75b45ffc61f73fde23431806c0f19ef06e7fbd629e95a47ff306e4614e",
        ),
        ("tinynet_e", "1fadf6539d66a02c6f5b158df68eacbf080dd6396bda2850e212b114e6cd5c11"),
    ],
)
def test_the_hash_never_changes(name, sha256):
    assert load_spec(name).sha256 == sha256


def test_the_hash_covers_everything_but_the_citation():
    document = json.loads(TEXT)
    hashes = {load_spec("tinynet_c").sha256}
    changes = {
        "name": "other",
        "input_size": [3, 184, 183],
        "num_classes": 999,
        "labels": None,
        "activation": "relu6",
        "padding": "same",
        "preprocessing": PHOTO,
        "batch_norm": {"eps": 1e-3, "momentum": 0.1},
        "head": {"out_channels": 1281},
        "stem": {"kernel_size": 3, "stride": 2, "out_channels": 31},
        "stages": document["stages"][:-1],
        "derivation": None,
        "expected": None,
    }
    assert changes.keys() | {"$schema", "spec_version", "source"} == document.keys() | {
        "padding",
        "preprocessing",
    }
    for key, value in changes.items():
        other = copy.deepcopy(document)
        if value is None:
            del other[key]
        else:
            other[key] = value
        hashes.add(parse_spec(json.dumps(other)).sha256)
    assert len(hashes) == 1 + len(changes)
    cited = parse_spec(json.dumps(document | {"source": "elsewhere"}))
    assert cited.sha256 == load_spec("tinynet_c").sha256
    assert cited == load_spec("tinynet_c")


def test_with_classes():
    spec = load_spec("tinynet_c")
    other = spec.with_classes(2, ("cat", "dog"))
    assert (other.num_classes, other.labels) == (2, ("cat", "dog"))
    assert (other.derivation, other.expected) == (None, None)
    assert other.blocks() == spec.blocks()


# Resolved blocks


def block(key, kind, channels, kernel_size, stride, se_channels, sizes, has_skip):
    return Block(
        key,
        kind,
        *channels,
        kernel_size,
        stride,
        (kernel_size // 2,) * 4,
        se_channels,
        has_skip,
        (sizes[0],) * 2,
        (sizes[1],) * 2,
    )


def test_the_blocks_of_tinynet_c():
    # By hand: 184 px, halved by the stem and by stages 1, 2, 3 and 5, rounded up; the squeeze is
    # a quarter of the block's input channels, not of the expanded ones.
    assert load_spec("tinynet_c").stem_out_size == (92, 92)
    assert load_spec("tinynet_c").blocks() == (
        block("blocks.0.0", "ds", (32, 32, 8), 3, 1, 8, (92, 92), False),
        block("blocks.1.0", "ir", (8, 48, 16), 3, 2, 2, (92, 46), False),
        block("blocks.1.1", "ir", (16, 96, 16), 3, 1, 4, (46, 46), True),
        block("blocks.2.0", "ir", (16, 96, 24), 5, 2, 4, (46, 23), False),
        block("blocks.2.1", "ir", (24, 144, 24), 5, 1, 6, (23, 23), True),
        block("blocks.3.0", "ir", (24, 144, 40), 3, 2, 6, (23, 12), False),
        block("blocks.3.1", "ir", (40, 240, 40), 3, 1, 10, (12, 12), True),
        block("blocks.3.2", "ir", (40, 240, 40), 3, 1, 10, (12, 12), True),
        block("blocks.4.0", "ir", (40, 240, 64), 5, 1, 10, (12, 12), False),
        block("blocks.4.1", "ir", (64, 384, 64), 5, 1, 16, (12, 12), True),
        block("blocks.4.2", "ir", (64, 384, 64), 5, 1, 16, (12, 12), True),
        block("blocks.5.0", "ir", (64, 384, 104), 5, 2, 16, (12, 6), False),
        block("blocks.5.1", "ir", (104, 624, 104), 5, 1, 26, (6, 6), True),
        block("blocks.5.2", "ir", (104, 624, 104), 5, 1, 26, (6, 6), True),
        block("blocks.6.0", "ir", (104, 624, 176), 3, 1, 26, (6, 6), False),
    )


def test_padding_of_the_released_lite0():
    # 224 halves evenly all the way: TensorFlow pads below and to the right only.
    blocks = load_spec("efficientnet_lite0").blocks()
    assert load_spec("efficientnet_lite0").stem_padding == (0, 1, 0, 1)
    strided = {b.kernel_size: b.padding for b in blocks if b.stride == 2}
    plain = {b.kernel_size: b.padding for b in blocks if b.stride == 1}
    assert strided == {3: (0, 1, 0, 1), 5: (1, 2, 1, 2)}
    assert plain == {3: (1,) * 4, 5: (2,) * 4}
    assert not any(b.se_channels for b in blocks)


def test_grouped_by_stage_and_in_one_row_are_the_same():
    spec = load_spec("tinynet_a")
    stages = spec.blocks_by_stage()
    assert [len(stage) for stage in stages] == [stage.repeats for stage in spec.stages]
    assert tuple(b for stage in stages for b in stage) == spec.blocks()


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_same_padding_is_tensorflows(kernel_size, stride):
    for size in range(1, 60):
        spec = dataclasses.replace(
            load_spec("efficientnet_lite0"),
            input_size=(3, size, 8192),
            stem=dataclasses.replace(
                load_spec("efficientnet_lite0").stem, kernel_size=kernel_size, stride=stride
            ),
        )
        top, bottom, _, _ = spec.stem_padding
        # TensorFlow's documentation of tf.nn.convolution, case by case.
        if size % stride == 0:
            along = max(kernel_size - stride, 0)
        else:
            along = max(kernel_size - size % stride, 0)
        assert (top, bottom) == (along // 2, along - along // 2)
        assert spec.stem_out_size[0] == math.ceil(size / stride)
        # Brute force: count the places at which the kernel fits.
        padded = size + top + bottom
        assert spec.stem_out_size[0] == len(range(0, padded - kernel_size + 1, stride))


@given(specs())
def test_blocks_fit_together(spec):
    blocks = spec.blocks()
    channels, size = spec.stem.out_channels, spec.stem_out_size
    if spec.stem.pool is not None:
        # Padded by half its size, a window stands on every pixel, of which the stride skips some.
        size = tuple(len(range(0, pixels, spec.stem.pool.stride)) for pixels in size)
    for one in blocks:
        assert (one.in_channels, one.in_size) == (channels, size)
        channels, size = one.out_channels, one.out_size
        assert min(size) >= 1
        assert one.has_skip == (one.in_channels == one.out_channels and one.stride == 1)
        assert one.in_size == one.out_size or not one.has_skip
        top, bottom, left, right = one.padding
        for place, (before, after) in enumerate([(top, bottom), (left, right)]):
            padded = one.in_size[place] + before + after
            places = range(0, padded - one.kernel_size + 1, one.stride)
            assert one.out_size[place] == len(places)


@pytest.mark.parametrize(
    ("in_channels", "ratio", "expected"),
    [(16, 0.25, 4), (10, 0.25, 2), (14, 0.25, 4), (1, 0.25, 1), (3, 0.5, 2), (7, 1.0, 7)],
)
def test_squeezed_channels_are_rounded_to_even_and_at_least_one(in_channels, ratio, expected):
    spec = load_spec("tinynet_c")
    spec = dataclasses.replace(
        spec,
        stem=dataclasses.replace(spec.stem, out_channels=in_channels),
        stages=(dataclasses.replace(spec.stages[1], se_ratio=ratio, repeats=1),),
    )
    assert spec.blocks()[0].se_channels == expected
