import dataclasses

import pytest

from tinynet.net.complexity import count
from tinynet.net.twist import derive
from tinynet.spec import Derivation, Twist, list_specs, load_spec

BASE = load_spec("efficientnet_b0")
DERIVED = [name for name in list_specs() if load_spec(name).derivation is not None]


def test_these_are_derived():
    assert DERIVED == ["tinynet_a", "tinynet_b", "tinynet_c", "tinynet_d", "tinynet_e"]


@pytest.mark.parametrize("name", DERIVED)
def test_the_twist_gives_the_spec(name):
    spec = load_spec(name)
    assert spec.derivation is not None
    derived = derive(load_spec(spec.derivation.base), spec.derivation.twist, name)
    assert derived == spec
    assert derived.sha256 == spec.sha256


# FACTS of the paper and the released code, not of this project: (r, d, w).
@pytest.mark.parametrize(
    ("name", "resolution", "depth", "width"),
    [
        ("tinynet_a", 0.86, 1.2, 1.0),
        ("tinynet_b", 0.84, 1.1, 0.75),
        ("tinynet_c", 0.825, 0.85, 0.54),
        ("tinynet_d", 0.68, 0.695, 0.54),
        ("tinynet_e", 0.475, 0.60, 0.51),
    ],
)
def test_the_released_twists(name, resolution, depth, width):
    assert load_spec(name).derivation == Derivation(
        "efficientnet_b0", Twist(resolution, depth, width)
    )


# By hand, from B0's repeats 1 2 2 3 3 4 1 and channels 16 24 40 80 112 192 320.
@pytest.mark.parametrize(
    ("name", "side", "repeats", "channels"),
    [
        ("tinynet_a", 192, (1, 2, 2, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
        ("tinynet_b", 188, (1, 2, 2, 3, 3, 4, 1), (16, 24, 32, 64, 88, 144, 240)),
        ("tinynet_c", 184, (1, 2, 2, 3, 3, 3, 1), (8, 16, 24, 40, 64, 104, 176)),
        ("tinynet_d", 152, (1, 1, 1, 2, 2, 3, 1), (8, 16, 24, 40, 64, 104, 176)),
        ("tinynet_e", 106, (1, 1, 1, 2, 2, 2, 1), (8, 16, 24, 40, 56, 96, 160)),
    ],
)
def test_stages_by_hand(name, side, repeats, channels):
    twist = load_spec(name).derivation.twist
    spec = derive(BASE, twist, name)
    assert spec.input_size == (3, side, side)
    assert tuple(stage.repeats for stage in spec.stages) == repeats
    assert tuple(stage.out_channels for stage in spec.stages) == channels
    assert spec.stem == BASE.stem
    assert spec.head.out_channels == 1280


def test_the_identity_changes_nothing_but_the_name():
    spec = derive(BASE, Twist(1.0, 1.0, 1.0), "same_again")
    assert dataclasses.replace(spec, name=BASE.name, derivation=None) == dataclasses.replace(
        BASE, derivation=None
    )


def test_a_wide_net_gets_a_wide_head_and_keeps_its_stem():
    spec = derive(BASE, Twist(1.0, 1.0, 1.4), "wide")
    assert spec.head.out_channels == 1792
    assert spec.stem.out_channels == 32


def test_what_a_twist_does_not_touch():
    base = dataclasses.replace(load_spec("efficientnet_lite0"), input_size=(3, 224, 160))
    spec = derive(base, Twist(0.5, 2.0, 0.5), "half", source="here")
    assert spec.input_size == (3, 112, 80)
    assert spec.source == "here"
    assert spec.derivation == Derivation("efficientnet_lite0", Twist(0.5, 2.0, 0.5))
    assert spec.expected == count(spec)
    for field in ("num_classes", "activation", "padding", "batch_norm", "preprocessing", "labels"):
        assert getattr(spec, field) == getattr(base, field)
    for new, old in zip(spec.stages, base.stages, strict=True):
        for field in ("kind", "kernel_size", "stride", "expand_ratio", "se_ratio"):
            assert getattr(new, field) == getattr(old, field)
