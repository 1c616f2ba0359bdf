import dataclasses
import json
import math
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinynet.data.randaugment import (
    OPERATIONS,
    Operation,
    apply_operation,
    draw_operations,
    filling,
)
from tinynet.data.sampling import Sample
from tinynet.recipe import RandAugment
from tinynet.spec import Preprocessing

FOLDER = Path(__file__).parents[2] / "golden"
MAKER = runpy.run_path(str(FOLDER / "make_augmentation.py"))
GOLDEN = json.loads((FOLDER / "augmentation.json").read_text(encoding="utf-8"))

PAPER = RandAugment(layers=2, magnitude=9.0, magnitude_std=0.5, probability=0.5)
COUNT = 6000


def drawn(randaugment):
    return [draw_operations(randaugment, 7, Sample(0, index)) for index in range(COUNT)]


# Oracle: timm


@pytest.mark.parametrize("kind", GOLDEN["operations"])
def test_operations_are_timms(kind):
    spec = MAKER["SPECS"][kind]
    image = MAKER["small_image"]("L" if spec.input_size[0] == 1 else "RGB")
    fill = filling(spec.preprocessing)
    golden = GOLDEN["operations"][kind]
    for name, operation in MAKER["operations"]():
        result = apply_operation(image, operation, fill)
        assert (result.mode, result.size) == (image.mode, image.size)
        assert MAKER["fingerprint"](result) == golden.pop(name), name
    assert golden == {}


def test_the_golden_operations_change_the_image():
    # But for those that need not: all brightnesses stay, or the grey image has no colour.
    for kind, golden in GOLDEN["operations"].items():
        unchanged = MAKER["fingerprint"](MAKER["small_image"]("L" if kind == "grey" else "RGB"))
        alike = {name.split()[0] for name, value in golden.items() if value == unchanged}
        at_zero = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel", "SolarizeAdd"}
        at_ten = {"Solarize"}
        assert alike <= at_zero | at_ten | ({"Color"} if kind == "grey" else set())


def test_they_are_the_operations_of_the_paper_but_for_identity():
    assert len(OPERATIONS) == 15


def test_some_bits_always_stay():
    image = MAKER["small_image"]("L")
    weakest = apply_operation(image, Operation("Posterize", 0.0, 1), filling(Preprocessing((0.0,))))
    np.testing.assert_array_equal(weakest, np.asarray(image) & 0x80)


@pytest.mark.parametrize(
    ("mean", "color"), [((0.485, 0.456, 0.406), (124, 116, 104)), ((1.0,), 255), ((0.5,), 128)]
)
def test_moved_images_are_filled_with_the_mean_colour(mean, color):
    fill = filling(Preprocessing(mean, (1.0,) * len(mean)))
    assert fill.color == color
    white = Image.new("L" if len(mean) == 1 else "RGB", (20, 10), "white")
    moved = np.asarray(apply_operation(white, Operation("TranslateXRel", 1.0, 1), fill))
    np.testing.assert_array_equal(moved[:, -8:], np.broadcast_to(color, moved[:, -8:].shape))


def test_directions():
    # A white pixel in the middle shows where things go.
    image = Image.new("L", (41, 41))
    image.putpixel((20, 20), 255)
    fill = filling(Preprocessing((0.0,), (1.0,), interpolation="bilinear"))
    for name, axis in (("TranslateXRel", 1), ("TranslateYRel", 0)):
        places = []
        for sign in (1, -1):
            moved = np.asarray(
                apply_operation(image, Operation(name, 20 / 41 / 0.45 / 2, sign), fill)
            )
            places.append(np.argwhere(moved > 128)[0][axis])
        assert places == [10, 30]


# What is drawn


def test_each_layer_is_applied_with_the_probability():
    counts = Counter(len(operations) for operations in drawn(PAPER))
    for layers, share in ((0, 0.25), (1, 0.5), (2, 0.25)):
        # Four standard deviations.
        assert abs(counts[layers] - COUNT * share) < 4 * math.sqrt(COUNT * share * (1 - share))
    always = dataclasses.replace(PAPER, probability=1.0, layers=3)
    assert {len(operations) for operations in drawn(always)} == {3}
    never = dataclasses.replace(PAPER, probability=0.0)
    assert not any(drawn(never))


def test_operations_come_up_alike_with_replacement_and_in_both_directions():
    pairs = drawn(dataclasses.replace(PAPER, probability=1.0))
    counts = Counter(operation.name for pair in pairs for operation in pair)
    assert set(counts) == set(OPERATIONS)
    total, share = 2 * COUNT, 1 / len(OPERATIONS)
    for count in counts.values():
        assert abs(count - total * share) < 4 * math.sqrt(total * share * (1 - share))
    twice = sum(first.name == second.name for first, second in pairs)
    assert abs(twice - COUNT * share) < 4 * math.sqrt(COUNT * share)
    signs = Counter((operation.name, operation.sign) for pair in pairs for operation in pair)
    assert set(signs) == {(name, sign) for name in OPERATIONS for sign in (1, -1)}
    for name in OPERATIONS:
        assert abs(signs[name, 1] - signs[name, -1]) < 4 * math.sqrt(counts[name])


def test_strengths_are_normal_and_clipped():
    pairs = drawn(dataclasses.replace(PAPER, probability=1.0))
    strengths = np.array([operation.strength for pair in pairs for operation in pair])
    assert strengths.max() == 1.0
    below = strengths[strengths < 1.0]
    # Magnitude 10 is two standard deviations above 9.
    assert abs(len(strengths) - len(below) - len(strengths) * 0.02275) < 60
    assert np.quantile(strengths, 0.5) == pytest.approx(0.9, abs=0.002)
    assert np.quantile(strengths, 0.1587) == pytest.approx(0.85, abs=0.002)
    weak = drawn(RandAugment(1, 0.0, 0.5, 1.0))
    assert min(operation.strength for [operation] in weak) == 0.0
    fixed = drawn(RandAugment(1, 7.0, 0.0, 1.0))
    assert {operation.strength for [operation] in fixed} == {0.7}


def test_strengths_do_not_follow_the_operation():
    pairs = drawn(dataclasses.replace(PAPER, magnitude=5.0, magnitude_std=1.0, probability=1.0))
    rows = [(OPERATIONS.index(o.name), o.sign, o.strength) for pair in pairs for o in pair]
    assert np.abs(np.corrcoef(np.array(rows).T) - np.eye(3)).max() < 0.04


def test_numbers_depend_on_seed_epoch_and_image():
    always = dataclasses.replace(PAPER, probability=1.0)
    seen = {
        tuple(draw_operations(always, seed, Sample(epoch, index)))
        for seed in (0, 1)
        for epoch in (0, 1)
        for index in (0, 1)
    }
    assert len(seen) == 8
