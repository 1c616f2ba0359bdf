import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tinynet.net.complexity import count, layers
from tinynet.net.drop_path import drop_path_rates
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import manifest
from tinynet.net.twist import derive
from tinynet.spec import Head, SpecError, Twist, format_spec, load_spec, parse_spec

from resnets import small_resnet

KINDS = ("basic", "bottleneck")
IMAGENET = ("resnet18", "resnet34", "resnet50")
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "torchvision_keys.json").read_text())


@pytest.mark.parametrize("name", IMAGENET)
def test_names_and_shapes_are_torchvisions_in_its_order(name):
    ours = {key: list(entry.shape) for key, entry in manifest(load_spec(name)).items()}
    assert list(ours.items()) == list(GOLDEN[name].items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_resnet_survives_its_json(kind):
    spec = small_resnet(kind)
    assert parse_spec(format_spec(spec)) == spec


def test_a_bottleneck_by_hand():
    shapes = {key: entry.shape for key, entry in manifest(small_resnet("bottleneck")).items()}
    weights = {key: shape for key, shape in shapes.items() if len(shape) > 1}
    assert list(weights.items())[:5] == [
        ("conv1.weight", (8, 3, 7, 7)),
        ("layer1.0.conv1.weight", (8, 8, 1, 1)),
        ("layer1.0.conv2.weight", (8, 8, 3, 3)),
        ("layer1.0.conv3.weight", (32, 8, 1, 1)),
        ("layer1.0.downsample.0.weight", (32, 8, 1, 1)),
    ]
    assert weights["layer2.0.downsample.0.weight"] == (64, 32, 1, 1)
    assert "layer1.1.downsample.0.weight" not in weights
    assert weights["fc.weight"] == (10, 64)


def test_the_stride_is_on_the_second_convolution():
    sizes = {layer.key: layer.output_shape[1:] for layer in layers(small_resnet("bottleneck"))}
    assert sizes["conv1"] == (16, 16)
    assert sizes["layer1.0.conv1"] == (8, 8)
    assert sizes["layer2.0.conv1"] == (8, 8)
    assert sizes["layer2.0.conv2"] == sizes["layer2.0.downsample.0"] == (4, 4)


def test_a_twist_rounds_the_middle_of_a_bottleneck():
    twisted = derive(load_spec("resnet50"), Twist(0.8, 0.9, 0.77), "twisted")
    assert [stage.out_channels for stage in twisted.stages] == [4 * n for n in (48, 96, 200, 392)]
    assert [stage.repeats for stage in twisted.stages] == [3, 4, 5, 3]
    assert twisted.input_size == (3, 179, 179)
    assert twisted.stem == load_spec("resnet50").stem
    assert twisted.expected == count(twisted)


def test_the_classifier_starts_as_torchvisions():
    state = initial_state(dataclasses.replace(small_resnet("basic"), num_classes=1000), seed=0)
    bound = 16**-0.5
    for key in ("fc.weight", "fc.bias"):
        assert 0.9 * bound < np.abs(state[key]).max() <= bound


def test_drop_path_rises_to_the_whole_rate_in_the_last_block():
    # timm 1.0: create_model("resnet18", drop_path_rate=0.35), of each block's drop_path.drop_prob.
    rates = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
    assert drop_path_rates(load_spec("resnet18"), 0.35) == pytest.approx(rates)
    basic = small_resnet("basic")
    stage = dataclasses.replace(basic.stages[0], repeats=1)
    assert drop_path_rates(dataclasses.replace(basic, stages=(stage,)), 0.4) == (0.0,)


def refused(spec, message, **changes):
    with pytest.raises(SpecError) as caught:
        dataclasses.replace(spec, **changes)
    assert str(caught.value) == message


def test_families_do_not_mix():
    basic, tiny = small_resnet("basic"), load_spec("tinynet_e")
    refused(
        basic,
        'stages[2].kind is "ir", expected "basic" or "bottleneck" (the first stage\'s family)',
        stages=(*basic.stages, tiny.stages[1]),
    )
    refused(
        tiny,
        'stages[1].kind is "basic", expected "ds" or "ir" (the first stage\'s family)',
        stages=(tiny.stages[0], basic.stages[0]),
    )
    refused(basic, "head is there, expected none (a ResNet has none)", head=Head(8))
    refused(tiny, 'the key "head" is missing, expected an object with out_channels', head=None)
    refused(tiny, "stem.pool is there, expected none (only a ResNet has one)", stem=basic.stem)
    refused(basic, 'padding is "same", expected "symmetric" in a ResNet', padding="same")


def test_a_stage_of_a_resnet_says_what_it_is_and_no_more():
    basic, bottleneck = small_resnet("basic"), small_resnet("bottleneck")
    for field, value in (("expand_ratio", 1), ("se_ratio", 0.25)):
        stage = dataclasses.replace(basic.stages[0], **{field: value})
        message = f'stages[0].{field} is there, expected none (kind "basic")'
        refused(basic, message, stages=(stage, basic.stages[1]))
    stage = dataclasses.replace(bottleneck.stages[0], out_channels=30)
    message = "stages[0].out_channels is 30, expected a multiple of 4 (a bottleneck's)"
    refused(bottleneck, message, stages=(stage,))


def test_a_stage_of_a_tinynet_must_say_how_it_expands():
    tiny = load_spec("tinynet_e")
    text = format_spec(tiny).replace('"expand_ratio": 6, ', "", 1)
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "e.json")
    assert str(caught.value) == (
        'e.json: the key "expand_ratio" is missing in stages[1], expected a whole number from 1 '
        "to 64"
    )
