"""The one pixel path: a photograph on disk becomes a net's input, the same bits for every consumer.

Pillow decodes, resizes and crops, NumPy normalises, whichever framework follows. The results equal
timm's evaluation transform bit for bit (``create_transform(..., is_training=False)``, whose
resize and crop are torchvision's).
"""

from __future__ import annotations

import io
import math
import os
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from tinynet.spec import Spec, SpecError

Pixels = npt.NDArray[np.float32]

# Formats of photographs. By default Pillow also opens EPS, for which it starts another program, and
# dozens of formats that no data set uses.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

_MODES = {1: "L", 3: "RGB"}
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# How far a filter reaches, in pixels of the smaller image.
_SUPPORT = {"bicubic": 2, "bilinear": 1}
# Pillow 13 resizes columns first where an image that shrinks is more than twice as high as wide.
_UPRIGHT = 1.5
# A picture of 1 x 60000 pixels is a small file, but resizing its short side to 214 makes 2.7
# billion pixels. The bound is the one at which Pillow itself speaks of a decompression bomb.
_MAX_RESIZED_PIXELS = 178_956_970


class ImageError(ValueError):
    """A file that cannot be used as an image. The message is one line."""


def load_image(path: str | os.PathLike[str], channels: int = 3) -> Image.Image:
    """Decodes an image file completely and converts it to RGB or greyscale.

    Greyscale, palette, CMYK and alpha become what Pillow's ``convert`` makes of them, as in timm:
    alpha is dropped, not blended. The EXIF orientation is ignored, as in timm and torchvision. Of
    an animation or a multi-page file the first frame is taken. Colour PNGs of 16 bits a channel
    keep their upper 8 bits.

    Args:
        path: the file, in one of ``FORMATS``.
        channels: 3 for mode "RGB", 1 for mode "L".

    Raises:
        ImageError: the file is missing, not an image, truncated, too large (Pillow's
            decompression-bomb limit), or has 16-bit, 32-bit or float samples in one channel,
            which converting would clip at 255 without a word.
    """
    return _decoded(path, str(path), channels)


def decode_image(data: bytes, name: str, channels: int = 3) -> Image.Image:
    """Decodes the bytes of an image file as :func:`load_image` does, calling it ``name``."""
    return _decoded(io.BytesIO(data), name, channels)


def convert_image(image: Image.Image, channels: int = 3) -> Image.Image:
    """Converts an image in memory, of any mode, as :func:`load_image` converts a file.

    Raises:
        ImageError: it has samples of more than 8 bits, or cannot be decoded.
    """
    try:
        return _converted(image, _MODES[channels])
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"cannot be decoded: {_one_line(error)}") from None


def preprocess(image: Image.Image, spec: Spec) -> Pixels:
    """Turns a decoded image into the input of a net, for evaluation.

    The short side is resized to floor(size / crop_fraction), with antialiasing and the aspect
    ratio kept; small images are enlarged. The centre is cropped and normalised.

    Args:
        image: mode "RGB" for specs with 3 input channels, "L" for 1, as :func:`load_image` gives.
        spec: its ``input_size`` and ``preprocessing`` are used.

    Returns:
        Float32 (C, H, W).

    Raises:
        ImageError: an empty image, or one so elongated that it cannot be resized.
        SpecError: the spec has neither 1 nor 3 input channels.

    Source: timm 1.0, ``transforms_imagenet_eval`` and ``ResizeKeepRatio``; torchvision 0.28,
    ``_compute_resized_output_size`` and ``center_crop``.
    """
    _, height, width = spec.input_size
    mode = image_mode(spec)
    if image.mode != mode:
        raise ValueError(f'image has mode "{image.mode}", expected "{mode}" for {spec.name}')
    size = _resized(image.size, spec)
    # round() is half to even, as in torchvision. The resized image is nowhere smaller than the
    # crop, since crop_fraction is at most 1, so nothing is ever padded.
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    box = (left, top, left + width, top + height)
    cropped = np.asarray(resized_part(image, size, box, spec.preprocessing.interpolation))
    table = _normalised(spec.preprocessing.mean, spec.preprocessing.std)
    pixels = np.empty(spec.input_size, np.float32)
    for channel, plane in enumerate(np.atleast_3d(cropped).transpose(2, 0, 1)):
        # Brightnesses cannot be out of range; mode "raise" would check, and copy for it.
        np.take(table[channel], plane, out=pixels[channel], mode="clip")
    return pixels


def resized_part(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    interpolation: str,
) -> Image.Image:
    """Resizes part of an image, bit for bit as ``image.resize(size).crop(box)`` does.

    Pillow resizes rows, rounds, then resizes columns. Here each pass works on what the part needs.

    Args:
        image: mode "RGB" or "L".
        size: width and height of the whole, resized, in the ratio of the image.
        box: left, top, right and bottom of the part, in the resized image.
        interpolation: "bicubic" or "bilinear", with antialiasing.
    """
    resampling = RESAMPLING[interpolation]
    width, height = image.size
    if height > _UPRIGHT * width:
        return image.resize(size, resampling).crop(box)
    left, top, right, bottom = box
    scale = height / size[1]
    # What an output row reads lies within this distance of its centre, and one row for rounding.
    reach = _SUPPORT[interpolation] * max(scale, 1.0) + 1
    first = max(0, math.floor((top + 0.5) * scale - reach))
    last = min(height, math.ceil((bottom - 0.5) * scale + reach))
    rows = image.crop((0, first, width, last)).resize((size[0], last - first), resampling)
    # Rows back at their places: the weights of the second pass are those of the whole height. Rows
    # that stay empty do not show in the part.
    columns = rows.crop((left, -first, right, height - first))
    resized = columns.resize((right - left, size[1]), resampling)
    return resized.crop((0, top, right - left, bottom))


def load_input(path: str | os.PathLike[str], spec: Spec) -> Pixels:
    """Reads an image file as the input of a net: :func:`load_image`, then :func:`preprocess`.

    Returns:
        Float32 (C, H, W).

    Raises:
        ImageError: naming the file.
        SpecError: the spec has neither 1 nor 3 input channels.
    """
    image_mode(spec)
    image = load_image(path, spec.input_size[0])
    try:
        return preprocess(image, spec)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def image_mode(spec: Spec) -> str:
    """Returns the Pillow mode of images for a net: "RGB" or "L".

    Raises:
        SpecError: the spec has neither 1 nor 3 input channels.
    """
    channels = spec.input_size[0]
    if channels not in _MODES:
        raise SpecError(
            f"{spec.name}: input_size[0] is {channels}, expected 1 or 3 channels to read images"
        )
    return _MODES[channels]


def _decoded(file: str | os.PathLike[str] | io.BytesIO, name: str, channels: int) -> Image.Image:
    if channels not in _MODES:
        raise ValueError(f"channels is {channels}, expected 1 (greyscale) or 3 (RGB)")
    try:
        with Image.open(file, formats=FORMATS) as image:
            return _converted(image, _MODES[channels])
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not an image, expected one of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too large: {_one_line(error)}") from None
    except Exception as error:
        # Not only OSError: on damaged files Pillow's decoders raise SyntaxError, struct.error, ...
        strerror = getattr(error, "strerror", None)
        problem = f"read: {strerror}" if strerror else f"decoded: {_one_line(error)}"
        raise ImageError(f"{name}: cannot be {problem}") from None


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        raise ImageError(
            f'has samples of more than 8 bits (Pillow mode "{image.mode}"), '
            "expected 8 bits a channel"
        )
    image.load()
    if "transparency" in image.info:
        # Not used by these conversions, but with it Pillow warns that alpha is dropped.
        image = image.copy()
        del image.info["transparency"]
    # Where there is nothing to convert, convert() copies all the same.
    return image if image.mode == mode else image.convert(mode)


def _resized(size: tuple[int, int], spec: Spec) -> tuple[int, int]:
    """Returns the (width, height) to resize an image of ``size`` to."""
    width, height = size
    if not (width and height):
        raise ImageError(f"the image is empty ({width} x {height} pixels)")
    fraction = spec.preprocessing.crop_fraction
    target_height, target_width = (math.floor(side / fraction) for side in spec.input_size[1:])
    # Two rules, because timm has torchvision resize for square inputs, which rounds the long side
    # down, and resizes for others itself, rounding to nearest.
    if target_height == target_width:
        short = min(width, height)
        resized = (int(target_width * width / short), int(target_width * height / short))
    else:
        ratio = min(height / target_height, width / target_width)
        resized = (round(width / ratio), round(height / ratio))
    if resized[0] * resized[1] > _MAX_RESIZED_PIXELS:
        raise ImageError(
            f"the image is too elongated ({width} x {height} pixels): with its short side "
            f"resized it would have {resized[0]} x {resized[1]} pixels"
        )
    return resized


@cache
def _normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Pixels:
    """Computes (x / 255 - mean) / std of the 256 brightnesses x, float32 (C, 256).

    Looking a pixel up gives the same bits as computing in float32, in a fifth of the time.
    """
    brightness = np.arange(256, dtype=np.float32) / np.float32(255)
    centred = brightness - np.array(mean, np.float32)[:, None]
    return centred / np.array(std, np.float32)[:, None]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
