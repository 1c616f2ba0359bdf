import dataclasses
import io
import json
import os
import runpy
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinynet.data.preprocessing import (
    RESAMPLING,
    ImageError,
    decode_image,
    load_image,
    load_input,
    preprocess,
    resized_part,
)
from tinynet.spec import Preprocessing, SpecError, load_spec

FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((FOLDER / "preprocessing.json").read_text())
MAKER = runpy.run_path(str(FOLDER / "make_preprocessing.py"))
CASES, NORMALISATIONS = MAKER["CASES"], MAKER["NORMALISATIONS"]
IMAGES = list(GOLDEN["decoded"])
SPEC = load_spec("tinynet_e")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return MAKER["sample_images"](tmp_path_factory.mktemp("images"))


def spec_for(size, crop=0.875, normalisation="imagenet", interpolation="bicubic"):
    preprocessing = Preprocessing(*NORMALISATIONS[normalisation], crop, interpolation)
    return dataclasses.replace(SPEC, input_size=size, preprocessing=preprocessing)


# The same bits as timm


@pytest.mark.parametrize("name", IMAGES)
def test_decoded_as_by_timm(images, name):
    for channels, mode in ((3, "RGB"), (1, "L")):
        image = load_image(images[name], channels)
        assert image.mode == mode
        assert MAKER["sha256"](image) == GOLDEN["decoded"][name][mode], (
            f"{name} decodes to other {mode} pixels than with Pillow {GOLDEN['versions']['pillow']}"
            "; all that follows for this image differs too"
        )


@pytest.mark.parametrize("name", IMAGES)
def test_bytes_are_decoded_as_their_file_is(images, name):
    for channels in (3, 1):
        image = decode_image(images[name].read_bytes(), name, channels)
        assert image == load_image(images[name], channels)


@pytest.mark.parametrize("name", IMAGES)
def test_preprocessed_as_by_timm(images, name):
    assert GOLDEN["inputs"][name].keys() == CASES.keys()
    for case, golden in GOLDEN["inputs"][name].items():
        spec = spec_for(*CASES[case])
        pixels = load_input(images[name], spec)
        assert (pixels.dtype, pixels.shape) == (np.float32, spec.input_size)
        assert pixels.flags.c_contiguous
        # Values first: if they differ they say more than a hash.
        assert MAKER["samples"](pixels) == golden["samples"], f"{name}, {case}: values differ"
        assert MAKER["sha256"](pixels) == golden["sha256"], f"{name}, {case}: bits differ"


def test_a_part_of_a_resized_image_has_the_bits_of_the_whole():
    random = np.random.default_rng(0)
    upright = 0
    for number in range(400):
        width, height = (round(side) for side in np.exp(random.uniform(0, np.log(500), 2)))
        part = tuple(random.integers(1, 200, 2).tolist())
        # At most this much too large on the side that fits, by either rule.
        ratio = max(part[0] / width, part[1] / height) / random.uniform(0.4, 1)
        rule = (int, round)[number % 2]
        size = tuple(
            max(rule(side * ratio), least)
            for side, least in zip((width, height), part, strict=True)
        )
        if size[0] * size[1] > 10**6:
            continue
        upright += height > width
        left, top = (int(random.integers(0, free + 1)) for free in np.subtract(size, part))
        box = (left, top, left + part[0], top + part[1])
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        if number % 3 == 0:
            image = image.convert("L")
        for interpolation, resampling in RESAMPLING.items():
            np.testing.assert_array_equal(
                resized_part(image, size, box, interpolation),
                image.resize(size, resampling).crop(box),
                err_msg=f"{image.size} to {size}, {box}, {interpolation}",
            )
    assert 50 < upright < 350


def test_the_golden_values_cover_every_shipped_spec():
    normalisations = {value: name for name, value in NORMALISATIONS.items()}
    for name in ("efficientnet_b0", "efficientnet_lite0", *(f"tinynet_{x}" for x in "abcde")):
        spec = load_spec(name)
        how = spec.preprocessing
        normalisation = normalisations[how.mean, how.std]
        case = (spec.input_size, how.crop_fraction, normalisation, how.interpolation)
        assert case in CASES.values(), name


def test_the_golden_images_cover_every_kind(images):
    modes = set()
    for path in images.values():
        with Image.open(path) as image:
            modes.add(image.mode)
    assert modes == {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK"}


# What the steps are, without timm


def test_the_resized_centre_is_normalised():
    # 4 / 0.5 is the size it has, so resizing changes nothing, and the corner is cropped away.
    image = Image.new("RGB", (8, 8), (255, 0, 51))
    image.putpixel((0, 0), (9, 9, 9))
    pixels = preprocess(image, spec_for((3, 4, 4), crop=0.5, normalisation="half"))
    expected = np.float32([1, -1, (np.float32(0.2) - np.float32(0.5)) / np.float32(0.5)])
    np.testing.assert_array_equal(pixels, np.broadcast_to(expected[:, None, None], (3, 4, 4)))


def test_the_centre_of_an_odd_margin_rounds_half_to_even():
    # A margin of 3 crops at 2 (1.5 rounds up), one of 5 at 2 (2.5 rounds down).
    ramp = np.arange(13, dtype=np.uint8)
    for side, start in ((11, 2), (13, 2)):
        image = Image.fromarray(np.tile(ramp[:side], (side, 1)))
        spec = spec_for((1, 8, 8), crop=8 / side, normalisation="grey")
        first = preprocess(image, spec)[0, 0, 0]
        mean, std = np.float32(0.1307), np.float32(0.3081)
        assert first == (np.float32(start) / np.float32(255) - mean) / std


def test_transparent_palette_gives_no_warning(images):
    # Warnings are errors in this suite; and the alpha is dropped, not blended.
    transparent = np.asarray(load_image(images["palette_transparent.png"]))
    np.testing.assert_array_equal(transparent, np.asarray(load_image(images["palette.png"])))


def test_jpegs_of_other_colour_spaces(tmp_path):
    colour = Image.effect_mandelbrot((40, 30), (-3, -2.5, 2, 2.5), 100)
    for mode in ("L", "CMYK"):
        path = tmp_path / f"{mode}.jpg"
        colour.convert(mode).save(path)
        with Image.open(path) as image:
            assert image.mode == mode
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(np.asarray(load_image(path)), expected)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    path = tmp_path / "animation.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert load_image(path).getpixel((2, 2)) == (255, 0, 0)


def test_colour_of_16_bits_keeps_the_upper_8(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(png_of_16_bits(colour=(0x12FF, 0x8000, 0xFF01)))
    assert load_image(path).getpixel((0, 0)) == (0x12, 0x80, 0xFF)


def png_of_16_bits(colour):
    # Pillow does not write these.
    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = b"\0\0\0\1\0\0\0\1" + bytes([16, 2, 0, 0, 0])
    row = b"\0" + b"".join(value.to_bytes(2, "big") for value in colour)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


# Bad input: one line that names the file and the cause


def refusal(path, function=load_image, *arguments):
    with pytest.raises(ImageError) as caught:
        function(path, *arguments)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert isinstance(caught.value, ValueError)
    if function is load_image and Path(path).is_file():
        with pytest.raises(ImageError) as of_bytes:
            decode_image(Path(path).read_bytes(), str(path), *arguments)
        assert str(of_bytes.value) == message
    return message.removeprefix(f"{path}: ")


def test_a_text_file_named_jpg(tmp_path):
    path = tmp_path / "text.jpg"
    path.write_text("not an image\n")
    assert refusal(path).startswith("not an image, expected one of JPEG, PNG")


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    assert refusal(path).startswith("not an image")


def test_a_format_that_would_start_another_program(tmp_path):
    path = tmp_path / "drawing.jpg"
    Image.new("RGB", (4, 4)).save(path, format="EPS")
    assert refusal(path).startswith("not an image")


def test_a_missing_file(tmp_path):
    assert refusal(tmp_path / "none.jpg") == "cannot be read: No such file or directory"


def test_a_folder_named_jpg(tmp_path):
    assert refusal(tmp_path) == "cannot be read: Is a directory"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tif", "ppm"])
def test_a_truncated_file(tmp_path, suffix):
    path = tmp_path / f"whole.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    load_image(path)
    whole = path.read_bytes()
    for kept in (0.95, 0.5, 0.1):
        path.write_bytes(whole[: int(len(whole) * kept)])
        refusal(path)


def test_a_damaged_file_is_refused_by_image_error_only(tmp_path):
    # A flipped bit may still decode; what it must not do is raise something else.
    random = np.random.default_rng(0)
    path = tmp_path / "damaged"
    messages = []
    for suffix in ("jpeg", "png", "gif", "tiff", "bmp"):
        buffer = io.BytesIO()
        Image.effect_mandelbrot((20, 15), (-3, -2.5, 2, 2.5), 100).save(buffer, suffix)
        for _ in range(40):
            damaged = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            damaged[random.integers(len(damaged), size=3)] ^= 1 << random.integers(8)
            path.write_bytes(damaged.tobytes())
            try:
                load_image(path)
            except ImageError as error:
                messages.append(str(error))
    assert len(messages) > 20
    assert all(message.startswith(f"{path}: ") for message in messages)
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize(
    ("dtype", "suffix", "mode"),
    [("uint16", "png", "I;16"), ("int32", "tif", "I"), ("float32", "tif", "F")],
)
def test_deep_greyscale_is_refused_by_name(tmp_path, dtype, suffix, mode):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(np.full((8, 8), 300, dtype)).save(path)
    expected = f'has samples of more than 8 bits (Pillow mode "{mode}"), expected 8 bits a channel'
    assert refusal(path) == expected
    assert refusal(path, load_image, 1) == expected


def test_a_decompression_bomb(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("1", (300, 300)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40_000)
    assert refusal(path).startswith("too large: Image size (90000 pixels) exceeds limit")


def test_an_elongated_image_that_resizing_would_blow_up(tmp_path):
    path = tmp_path / "line.png"
    Image.new("1", (60000, 1)).save(path)
    expected = "the image is too elongated (60000 x 1 pixels)"
    assert refusal(path, load_input, SPEC).startswith(expected)


def test_an_empty_image():
    with pytest.raises(ImageError, match="empty"):
        preprocess(Image.new("RGB", (0, 5)), SPEC)


def test_a_net_that_takes_no_photographs(tmp_path):
    four = dataclasses.replace(
        SPEC, input_size=(4, 32, 32), preprocessing=Preprocessing((0.5,) * 4, (0.5,) * 4)
    )
    expected = r"tinynet_e: input_size\[0\] is 4, expected 1 or 3 channels"
    with pytest.raises(SpecError, match=expected):
        preprocess(Image.new("RGBA", (40, 40)), four)
    with pytest.raises(SpecError, match=expected):
        load_input(tmp_path / "any.png", four)
    with pytest.raises(ValueError, match="channels is 4, expected 1"):
        load_image(tmp_path / "any.png", 4)


def test_an_image_of_another_mode_than_the_net_takes():
    with pytest.raises(ValueError, match='mode "L", expected "RGB" for tinynet_e'):
        preprocess(Image.new("L", (40, 40)), SPEC)


def test_importing_the_pixel_path_loads_no_framework():
    code = "import sys, tinynet.data.image_folder; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout.split()
    assert "tinynet.data.preprocessing" in loaded
    assert {"torch", "mindspore", "torchvision", "timm", "sklearn"}.isdisjoint(loaded)
