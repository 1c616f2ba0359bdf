import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given

from tinynet.net.complexity import count, layers
from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.spec import Complexity, list_specs, load_spec

from random_specs import specs

# Of the shipped nets, at their own input sizes and with their own classes.
GOLDEN = {
    "efficientnet_b0": (385_814_752, 5_288_548),
    "efficientnet_lite0": (385_187_552, 4_652_008),
    "resnet18": (1_814_073_344, 11_689_512),
    "resnet34": (3_663_761_408, 21_797_672),
    "resnet50": (4_089_184_256, 25_557_032),
    "tinynet_a": (336_867_712, 6_187_972),
    "tinynet_b": (200_709_360, 3_730_562),
    "tinynet_c": (99_536_432, 2_457_234),
    "tinynet_d": (51_580_656, 2_338_446),
    "tinynet_digits": (710_112, 216_228),
    "tinynet_e": (24_356_848, 2_042_972),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_shipped_counts(name):
    assert count(load_spec(name)) == Complexity(*GOLDEN[name])


def test_every_shipped_spec_records_its_count():
    assert list(GOLDEN) == list_specs()
    for name in GOLDEN:
        assert load_spec(name).expected == count(load_spec(name))


def test_a_small_net_by_hand():
    spec = load_spec("tinynet_e")
    ds = dataclasses.replace(spec.stages[0], out_channels=4, repeats=1)
    ir = dataclasses.replace(
        spec.stages[1], out_channels=6, repeats=1, kernel_size=5, se_ratio=None, expand_ratio=2
    )
    spec = dataclasses.replace(
        spec,
        input_size=(3, 8, 6),
        stem=dataclasses.replace(spec.stem, out_channels=8),
        stages=(ds, ir),
        head=dataclasses.replace(spec.head, out_channels=10),
        num_classes=7,
        labels=None,
        derivation=None,
    )
    table = {layer.key: (layer.macs, layer.params, layer.output_shape) for layer in layers(spec)}
    assert table == {
        "conv_stem": (8 * 27 * 12, 8 * 27, (8, 4, 3)),
        "bn1": (0, 16, (8, 4, 3)),
        "blocks.0.0.conv_dw": (8 * 9 * 12, 8 * 9, (8, 4, 3)),
        "blocks.0.0.bn1": (0, 16, (8, 4, 3)),
        "blocks.0.0.se.conv_reduce": (8 * 2, 8 * 2 + 2, (2, 1, 1)),
        "blocks.0.0.se.conv_expand": (2 * 8, 2 * 8 + 8, (8, 1, 1)),
        "blocks.0.0.conv_pw": (8 * 4 * 12, 8 * 4, (4, 4, 3)),
        "blocks.0.0.bn2": (0, 8, (4, 4, 3)),
        "blocks.1.0.conv_pw": (4 * 8 * 12, 4 * 8, (8, 4, 3)),
        "blocks.1.0.bn1": (0, 16, (8, 4, 3)),
        "blocks.1.0.conv_dw": (8 * 25 * 4, 8 * 25, (8, 2, 2)),
        "blocks.1.0.bn2": (0, 16, (8, 2, 2)),
        "blocks.1.0.conv_pwl": (8 * 6 * 4, 8 * 6, (6, 2, 2)),
        "blocks.1.0.bn3": (0, 12, (6, 2, 2)),
        "conv_head": (6 * 10 * 4, 6 * 10, (10, 2, 2)),
        "bn2": (0, 20, (10, 2, 2)),
        "classifier": (10 * 7, 10 * 7 + 7, (7,)),
    }
    total = count(spec)
    assert total.macs == sum(macs for macs, _, _ in table.values())
    assert total.params == sum(params for _, params, _ in table.values())


def test_activations_are_what_convolutions_and_the_classifier_write():
    for layer in layers(load_spec("tinynet_c")):
        expected = 0 if layer.op == "batch_norm" else math.prod(layer.output_shape)
        assert layer.activations == expected
    stem = layers(load_spec("tinynet_c"))[0]
    assert stem.activations == 32 * 92 * 92


@given(specs())
def test_the_count_is_that_of_the_manifest(spec):
    trained = [entry for entry in manifest(spec).values() if entry.role in TRAINED_ROLES]
    assert count(spec).params == sum(int(np.prod(entry.shape)) for entry in trained)
