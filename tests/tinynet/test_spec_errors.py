"""What is wrong with a spec is told in one line: file, place, found, expected."""

import dataclasses
import json

import pytest

from tinynet.spec import (
    Preprocessing,
    SpecError,
    load_spec,
    parse_spec,
)
from tinynet.utils.strict_json import DocumentError

from broken_documents import one_line
from spec_documents import ALL, PHOTO, TEXT, changed, without


def refusal(text, source="c.json"):
    with pytest.raises(SpecError) as caught:
        parse_spec(text, source)
    assert isinstance(caught.value, DocumentError)
    assert isinstance(caught.value, ValueError)
    return one_line(caught.value)


RATIO = (
    "the squeezed share of the block's input channels, above 0, at most 1 "
    "(leave the key out for no squeeze-excite)"
)
NAME = "a name of letters, digits, '_', '.' and '-'"
WHOLE = "a whole number from 1 to"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["spec_version"], 2, "spec_version is 2, expected 1, the only version there is"),
        (["name"], "a b", f'name is "a b", expected {NAME}'),
        (["name"], "../x", f'name is "../x", expected {NAME}'),
        (["name"], "two\n", f'name is "two\\n", expected {NAME}'),
        (["name"], "x" * 99 + "!", f'name is "{"x" * 56}..., expected {NAME}'),
        (["num_classes"], "10", f'num_classes is "10", expected {WHOLE} 1000000'),
        (["num_classes"], True, f"num_classes is true, expected {WHOLE} 1000000"),
        (["num_classes"], 10.5, f"num_classes is 10.5, expected {WHOLE} 1000000"),
        (["num_classes"], 0, f"num_classes is 0, expected {WHOLE} 1000000"),
        (["activation"], "gelu", 'activation is "gelu", expected "silu", "relu6" or "relu"'),
        (
            ["padding"], "valid",
            'padding is "valid", expected "symmetric" (kernel_size // 2 on every side) or '
            '"same" (TensorFlow\'s)',
        ),
        (["stages", 3, "kernel_size"], 4,
         "stages[3].kernel_size is 4, expected an odd number from 1 to 15"),
        (["stages", 3, "kernel_size"], 17,
         "stages[3].kernel_size is 17, expected an odd number from 1 to 15"),
        (["stem", "kernel_size"], 2, "stem.kernel_size is 2, expected an odd number from 1 to 15"),
        (["stem", "stride"], 0, "stem.stride is 0, expected a whole number from 1 to 4"),
        (["stages", 1, "out_channels"], -8,
         f"stages[1].out_channels is -8, expected {WHOLE} 65536"),
        (["stages", 1, "repeats"], None, f"stages[1].repeats is null, expected {WHOLE} 1000"),
        (["stages", 1, "expand_ratio"], 0, f"stages[1].expand_ratio is 0, expected {WHOLE} 64"),
        (["stages", 0, "expand_ratio"], 6,
         'stages[0].expand_ratio is 6, expected the number 1 (a "ds" block does not expand)'),
        (["stages", 2, "kind"], "mb",
         'stages[2].kind is "mb", expected "ds" (depthwise separable), "ir" (inverted residual), '
         '"basic" or "bottleneck" (both of ResNets)'),
        (["stages", 1, "se_ratio"], 0, f"stages[1].se_ratio is 0, expected {RATIO}"),
        (["stages", 1, "se_ratio"], None, f"stages[1].se_ratio is null, expected {RATIO}"),
        (["stages"], [], "stages is [], expected a list of 1 to 64 stages"),
        (["stages"], {}, "stages is {}, expected a list of 1 to 64 stages"),
        (["head", "out_channels"], 0, f"head.out_channels is 0, expected {WHOLE} 65536"),
        (["input_size"], [3, 184],
         "input_size is [3, 184], expected three whole numbers: channels, height, width"),
        (["input_size", 1], 0, f"input_size[1] is 0, expected {WHOLE} 8192"),
        (["input_size", 0], 1,
         "preprocessing.mean has 3 numbers, expected 1, one per channel of input_size"),
        (["batch_norm", "eps"], 0, "batch_norm.eps is 0, expected a number above 0, at most 1"),
        (["batch_norm", "momentum"], 2,
         "batch_norm.momentum is 2, expected the weight of the new batch, above 0, at most 1"),
        (["preprocessing"], PHOTO | {"mean": [0.5]},
         "preprocessing.mean has 1 numbers, expected 3, one per channel of input_size"),
        (["preprocessing"], PHOTO | {"std": [0.5] * 4},
         "preprocessing.std has 4 numbers, expected 3, one per channel of input_size"),
        (["preprocessing"], PHOTO | {"std": [0.5, 0, 0.5]},
         "preprocessing.std[1] is 0, expected a number above 0"),
        (["preprocessing"], PHOTO | {"crop_fraction": 1.5},
         "preprocessing.crop_fraction is 1.5, expected input side / resized short side, above 0, "
         "at most 1"),
        (["preprocessing"], PHOTO | {"interpolation": "nearest"},
         'preprocessing.interpolation is "nearest", expected "bicubic" or "bilinear"'),
        (["labels"], ["cat", "dog"], "labels has 2 names, expected num_classes = 1000"),
        (["labels"], [1], "labels[0] is 1, expected a class name"),
        (["derivation", "twist", "width"], -1,
         "derivation.twist.width is -1, expected a multiplier above 0, at most 64"),
        (["expected", "macs"], 0,
         "expected.macs is 0, expected a whole number of multiply-accumulates"),
        (["stages", 3, "kernal_size"], 3,
         'unknown key "kernal_size" in stages[3], expected one of kind, repeats, kernel_size, '
         "stride, expand_ratio, out_channels, se_ratio"),
        (["drop_path_rate"], 0.2,
         'unknown key "drop_path_rate", expected one of $schema, spec_version, name, source, '
         "input_size, num_classes, labels, activation, padding, batch_norm, stem, stages, head, "
         "preprocessing, derivation, expected"),
    ],
)  # fmt: skip
def test_a_wrong_value(path, value, message):
    assert refusal(changed(*path, to=value)) == f"c.json: {message}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            ["stem"],
            'the key "stem" is missing, expected an object with kernel_size, stride and '
            "out_channels",
        ),
        (
            ["spec_version"],
            'the key "spec_version" is missing, expected 1, the only version there is',
        ),
        (
            ["stages", 5, "repeats"],
            'the key "repeats" is missing in stages[5], expected a whole number from 1 to 1000',
        ),
        (
            ["batch_norm", "eps"],
            'the key "eps" is missing in batch_norm, expected a number above 0, at most 1',
        ),
    ],
)  # fmt: skip
def test_a_missing_key(path, message):
    assert refusal(without(*path)) == f"c.json: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON at line 1, column 1: Expecting value"),
        ('{"name": }', "not valid JSON at line 1, column 10: Expecting value"),
        (TEXT + "x", "not valid JSON at line 25, column 1: Extra data"),
        ("[1]", "the document is [1], expected a JSON object"),
        (TEXT.replace("1e-05", "NaN"), "NaN is not a JSON number"),
        (TEXT.replace("1e-05", "-Infinity"), "-Infinity is not a JSON number"),
        (TEXT.replace("1e-05", "1e400"), "1e400 is too large a number"),
        (
            TEXT.replace('"num_classes": 1000', '"num_classes": 1000, "num_classes": 10'),
            'the key "num_classes" stands twice in one object',
        ),
        (
            TEXT.replace('"momentum": 0.1', '"eps": 1e-05'),
            'the key "eps" stands twice in one object',
        ),
    ],
)
def test_not_a_document(text, message):
    assert refusal(text) == f"c.json: {message}"


@pytest.mark.parametrize("text", ["[" * 100_000, TEXT.replace("1000", "1" * 5000)])
def test_documents_that_python_itself_refuses(text):
    assert refusal(text).startswith("c.json: ")


def test_the_first_of_several_errors_is_shown_and_the_others_are_counted():
    stage = json.loads(TEXT)["stages"][1] | {"kernel_size": 2, "stride": 9}
    assert refusal(changed("stages", 1, to=stage)) == (
        "c.json: stages[1].kernel_size is 2, expected an odd number from 1 to 15 (and 1 more)"
    )


def test_files_that_cannot_be_read(tmp_path):
    latin = tmp_path / "latin.json"
    latin.write_bytes(b'{"name": "\xe9"}')
    even = tmp_path / "even.json"
    even.write_text(changed("stages", 0, "kernel_size", to=4))
    for path, message in [
        (tmp_path / "none.json", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (latin, "not UTF-8 text (byte 10)"),
        (even, "stages[0].kernel_size is 4, expected an odd number from 1 to 15"),
    ]:
        for name in (path, str(path)):
            with pytest.raises(SpecError) as caught:
                load_spec(name)
            assert one_line(caught.value) == f"{path}: {message}"


def test_an_unknown_name():
    with pytest.raises(SpecError) as caught:
        load_spec("tinynet_f")
    assert one_line(caught.value) == (
        "tinynet_f: no such spec, expected the path of a .json file or one of " + ", ".join(ALL)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("cat",)}, "labels has 1 names, expected num_classes = 1000"),
        (
            {"preprocessing": Preprocessing(mean=(0.5,))},
            "preprocessing.mean has 1 numbers, expected 3, one per channel of input_size",
        ),
    ],
)
def test_a_spec_made_in_code_is_held_to_the_same(change, message):
    with pytest.raises(SpecError) as caught:
        dataclasses.replace(load_spec("tinynet_c"), **change)
    assert str(caught.value) == message
