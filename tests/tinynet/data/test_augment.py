import dataclasses
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tinynet.data.augment import augment, draw_box, draw_flip, draw_jitter
from tinynet.data.preprocessing import ImageError
from tinynet.data.sampling import Sample
from tinynet.recipe import Augmentation
from tinynet.spec import load_spec

FOLDER = Path(__file__).parents[2] / "golden"
MAKER = runpy.run_path(str(FOLDER / "make_augmentation.py"))
GOLDEN = json.loads((FOLDER / "augmentation.json").read_text(encoding="utf-8"))

SEED = MAKER["SEED"]
PLAIN = MAKER["PLAIN"]
COLOR = MAKER["SPECS"]["color"]
GREY = MAKER["SPECS"]["grey"]
NOTHING = Augmentation((1.0, 1.0), (131 / 97, 131 / 97), 0.0, 0.0)
MANY = 4000


def many(augmentation, draw, count=MANY):
    return [draw(augmentation, SEED, Sample(0, index)) for index in range(count)]


def spread(values, low, high):
    """Kolmogorov's distance of values from the uniform distribution, times sqrt(count).

    Above 1.95 once in a thousand; the numbers are the same in every run.
    """
    ranks = np.arange(len(values) + 1) / len(values)
    share = (np.sort(values) - low) / (high - low)
    distance = max((ranks[1:] - share).max(), (share - ranks[:-1]).max())
    return distance * math.sqrt(len(values))


# Oracles: torchvision and timm, given the numbers that were drawn


@pytest.mark.parametrize("case", GOLDEN["images"])
def test_pixels_are_torchvisions_and_timms(case):
    kind, name = case.split(", ")
    spec, augmentation = MAKER["SPECS"][kind], MAKER["AUGMENTATIONS"][name]
    image = MAKER["sample_image"]("L" if spec.input_size[0] == 1 else "RGB")
    for sample, expected in zip(MAKER["SAMPLES"], GOLDEN["images"][case], strict=True):
        pixels = augment(image, spec, augmentation, SEED, sample)
        assert (pixels.dtype, pixels.shape) == (np.uint8, (40, 48, spec.input_size[0]))
        assert MAKER["fingerprint"](pixels) == expected, sample


def test_the_golden_samples_differ():
    # Some are flipped and some not, and hardly any two are alike.
    flips = [draw_flip(PLAIN, SEED, sample) for sample in MAKER["SAMPLES"]]
    assert 0 < sum(flips) < len(flips)
    assert all(len(set(hashes)) >= len(hashes) - 1 for hashes in GOLDEN["images"].values())


def test_the_same_image_in_another_epoch_or_run_is_another():
    image = MAKER["sample_image"]("RGB")
    seen = {
        augment(image, COLOR, PLAIN, seed, Sample(epoch, index)).tobytes()
        for seed in (0, 1)
        for epoch in (0, 1)
        for index in (0, 1)
    }
    assert len(seen) == 8


def test_a_purpose_does_not_change_with_another():
    # A recipe without flips must crop as one with flips.
    unflipped = dataclasses.replace(PLAIN, flip=0.0, color_jitter=0.0)
    boxes = many(PLAIN, lambda *rest: draw_box((131, 97), *rest), 20)
    assert boxes == many(unflipped, lambda *rest: draw_box((131, 97), *rest), 20)


def test_nothing_but_resizing():
    image = MAKER["sample_image"]("RGB")
    pixels = augment(image, COLOR, NOTHING, SEED, Sample(0, 0))
    np.testing.assert_array_equal(pixels, image.resize((48, 40), Image.Resampling.BICUBIC))


def test_a_flip_is_left_to_right():
    image = MAKER["sample_image"]("RGB")
    flipped = augment(image, COLOR, dataclasses.replace(NOTHING, flip=1.0), SEED, Sample(0, 0))
    plain = augment(image, COLOR, NOTHING, SEED, Sample(0, 0))
    np.testing.assert_array_equal(flipped, plain[:, ::-1])
    assert not np.array_equal(flipped, plain)


def test_only_the_crop_is_seen():
    # Whatever is outside of the crop must not bleed into its edges.
    sample = Sample(0, 0)
    left, top, right, bottom = draw_box((131, 97), PLAIN, SEED, sample)
    assert left > 0
    assert bottom < 97
    plain = dataclasses.replace(PLAIN, color_jitter=0.0)
    image = MAKER["sample_image"]("RGB")
    other = Image.new("RGB", image.size, "red")
    other.paste(image.crop((left, top, right, bottom)), (left, top))
    np.testing.assert_array_equal(
        augment(other, COLOR, plain, SEED, sample), augment(image, COLOR, plain, SEED, sample)
    )


def test_grey_images_have_no_saturation():
    augmentation = dataclasses.replace(NOTHING, color_jitter=0.4)
    image = MAKER["sample_image"]("L")
    enhancers = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast}
    for index in range(5):
        expected = image.resize((48, 40), Image.Resampling.BICUBIC)
        for name, factor in draw_jitter(augmentation, SEED, Sample(0, index)):
            if name in enhancers:
                expected = enhancers[name](expected).enhance(factor)
        pixels = augment(image, GREY, augmentation, SEED, Sample(0, index))
        np.testing.assert_array_equal(pixels[:, :, 0], expected)


def test_pixels_may_be_written_to():
    # Frameworks take over the memory and warn if they may not write.
    pixels = augment(MAKER["sample_image"]("L"), GREY, PLAIN, SEED, Sample(0, 0))
    assert pixels.flags.writeable


# Distributions

SIZE = (4000, 3000)


def boxes(augmentation, size=SIZE):
    return many(augmentation, lambda *rest: draw_box(size, *rest))


def test_areas_and_ratios_of_crops():
    # Where every part fits, nothing is drawn twice, so the distributions are those asked for.
    augmentation = Augmentation((0.1, 0.5), (3 / 4, 4 / 3), 0.0, 0.0)
    left, top, right, bottom = np.array(boxes(augmentation)).T
    width, height = right - left, bottom - top
    assert spread(width * height / math.prod(SIZE), 0.1, 0.5) < 1.95
    assert spread(np.log(width / height), math.log(3 / 4), math.log(4 / 3)) < 1.95
    x, y = left / (SIZE[0] - width), top / (SIZE[1] - height)
    assert spread(x, 0, 1) < 1.95
    assert spread(y, 0, 1) < 1.95
    drawn = np.array([width * height, np.log(width / height), x, y])
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.05


def test_crops_are_inside_and_reach_every_edge():
    left, top, right, bottom = np.array(boxes(PLAIN, (5, 4))).T
    assert (left.min(), top.min(), right.max(), bottom.max()) == (0, 0, 5, 4)
    assert (left < right).all()
    assert (top < bottom).all()
    # Every place of the smallest crops comes up: no column is left out for rounding.
    single = (right - left == 2) & (bottom - top == 1)
    assert set(left[single]) == {0, 1, 2, 3}
    assert set(top[single]) == {0, 1, 2, 3}


@pytest.mark.parametrize(("size", "ratio"), MAKER["ELONGATED"])
def test_what_no_crop_fits_into_gives_its_centre(size, ratio):
    augmentation = dataclasses.replace(PLAIN, scale=(1.0, 1.0), ratio=ratio)
    expected = GOLDEN["centres"][f"{size[0]} x {size[1]}"]
    assert list(draw_box(size, augmentation, SEED, Sample(0, 0))) == expected


def test_a_single_line_of_pixels_gives_at_least_one():
    augmentation = dataclasses.replace(PLAIN, scale=(1.0, 1.0), ratio=(0.1, 0.2))
    box = draw_box((300, 1), augmentation, SEED, Sample(0, 0))
    assert box == (149, 0, 150, 1)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips(probability):
    flips = many(dataclasses.replace(PLAIN, flip=probability), draw_flip)
    expected = MANY * probability
    # Three standard deviations of a binomial distribution.
    assert abs(sum(flips) - expected) <= 3 * math.sqrt(expected * (1 - probability))


@pytest.mark.parametrize(("jitter", "low", "high"), [(0.4, 0.6, 1.4), (1.5, 0.0, 2.5)])
def test_colour_factors_and_orders(jitter, low, high):
    drawn = many(dataclasses.replace(PLAIN, color_jitter=jitter), draw_jitter)
    factors = np.array([[dict(changes)[name] for changes in drawn] for name in dict(drawn[0])])
    assert len(factors) == 3
    for values in factors:
        assert spread(values, low, high) < 1.95
    assert np.abs(np.corrcoef(factors) - np.eye(3)).max() < 0.05
    orders = [tuple(dict(changes)) for changes in drawn]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    # Four standard deviations.
    assert max(abs(count - MANY / 6) for count in counts) < 4 * math.sqrt(MANY * 5 / 36)


def test_no_jitter():
    assert draw_jitter(NOTHING, SEED, Sample(0, 0)) == []


# Bad input


def test_an_empty_image():
    with pytest.raises(ImageError, match=r"empty \(0 x 3 pixels\)"):
        augment(Image.new("RGB", (0, 3)), COLOR, PLAIN, SEED, Sample(0, 0))


def test_an_image_of_another_mode():
    with pytest.raises(ValueError, match='mode "L", expected "RGB" for tinynet_e'):
        augment(Image.new("L", (3, 3)), COLOR, PLAIN, SEED, Sample(0, 0))


def test_a_net_that_takes_no_images():
    spec = dataclasses.replace(load_spec("tinynet_e"), name="x")
    spec = dataclasses.replace(
        spec,
        input_size=(2, 8, 8),
        preprocessing=dataclasses.replace(spec.preprocessing, mean=(0, 0), std=(1, 1)),
    )
    with pytest.raises(ValueError, match="x: input_size"):
        augment(Image.new("L", (3, 3)), spec, PLAIN, SEED, Sample(0, 0))
