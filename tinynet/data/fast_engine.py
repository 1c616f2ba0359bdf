"""The engine "fast" of a recipe: what :mod:`tinynet.data.augment` does, in about half of the time.

libjpeg-turbo decodes to Pillow's pixels, a resizer with SIMD comes to almost Pillow's, and colours
are changed in arrays, to Pillow's bits. What it cannot do is left to Pillow: files that are not
plain JPEGs, and RandAugment. All arithmetic is exact or elementwise, so that an image has the same
bits whichever process prepares it, and on whichever processor.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tinynet.data.augment import apply_randaugment, draw_box, draw_flip, draw_jitter
from tinynet.data.sampling import Sample
from tinynet.data.sources import Source
from tinynet.recipe import Augmentation
from tinynet.spec import Spec

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Colour spaces of JPEGs that become RGB as Pillow makes it; CMYK does not.
_COLOR_SPACES = ("YCbCr", "RGB", "Gray")
# Whole numbers of 16 bits, divided by 2^16: times brightnesses of 8 bits, the sums of a matrix
# product have at most the 24 bits of a float32. They are exact in any order of adding.
# Source: ITU-R 601-2, as in Pillow 13, Convert.c.
_LUMA = np.array([[19595], [38470], [7471]], np.float32) / np.float32(1 << 16)

_own = threading.local()
_NONE = np.empty(0, np.float32)
# Numbers between two arrays that are read and written in step. Where both begin at the same place
# of a page of 4 KiB, as large arrays from the system do, processors confuse what is written to one
# with what is read of the other and wait; a matrix product then takes up to ten times as long.
_GAP = 272


class EngineError(ValueError):
    """The engine of a recipe is not installed. The message is one line."""


def check_engine() -> None:
    """Imports what the engine needs.

    Raises:
        EngineError: saying what to install.
    """
    _installed("simplejpeg")
    _installed("cykooz_resizer")


def load_pixels(source: Source, index: int, channels: int) -> Bytes:
    """Decodes one image of a source to uint8 (H, W, C), with 3 or 1 channels as the source has.

    Raises:
        ImageError: naming the image, with the texts that decoding by Pillow has.
    """
    # Greyscale of a colour JPEG is not Pillow's: it would be read from the file, not computed.
    data = None if channels == 1 else source.encoded(index)
    pixels = None if data is None else _decode(data)
    return _pixels(source.image(index), channels) if pixels is None else pixels


def augment_pixels(
    pixels: Bytes, spec: Spec, augmentation: Augmentation, seed: int, sample: Sample
) -> Bytes:
    """Makes one training image as the net sees it, except for normalisation.

    The crop, flip and changes of colour are those of :func:`tinynet.data.augment.augment`, whose
    arguments these are, except for the image: uint8 (H, W, C), C as the net's channels.

    Returns:
        Uint8 (H, W, C).

    Raises:
        ImageError: an empty image.
    """
    channels, height, width = spec.input_size
    size = (pixels.shape[1], pixels.shape[0])
    left, top, right, bottom = draw_box(size, augmentation, seed, sample)
    part = _resized(pixels[top:bottom, left:right], height, width, spec.preprocessing.interpolation)
    if draw_flip(augmentation, seed, sample):
        part = _mirrored(part)
    if augmentation.randaugment is not None:
        image = apply_randaugment(_image(part), spec, augmentation.randaugment, seed, sample)
        return _pixels(image, channels)
    return jitter(part, draw_jitter(augmentation, seed, sample))


def jitter(pixels: Bytes, changes: Sequence[tuple[str, float]]) -> Bytes:
    """Changes brightness, contrast and saturation one by one, to the bits of ``ImageEnhance``.

    Args:
        pixels: uint8 (H, W, C), 3 channels or 1, which has no saturation.
        changes: (name, factor) in the order to apply them, factors from 0.

    Source: Pillow 13, ``ImageEnhance`` and Blend.c: away from black, from the mean grey, from the
    grey of each pixel; the result is cut off to whole numbers from 0 to 255.
    """
    values, greys = _workspace(pixels.size // pixels.shape[2], pixels.shape[2])
    values[...] = pixels.reshape(values.shape)
    # NumPy clips against a row in a quarter of the time that it takes against a number, if the row
    # is some ten thousand long; shorter ones take twice as long.
    rows = values.reshape(math.gcd(len(pixels), 12), -1)
    darkest, brightest = np.zeros_like(rows[0]), np.full_like(rows[0], 255)
    for place, (name, factor) in enumerate(changes):
        if place > 0:  # after the last one the conversion to bytes does it
            np.floor(values, out=values)
        if name == "brightness":
            values *= np.float32(factor)
        elif name == "contrast":
            grey = _grey(values, greys, 1)
            mean = np.float32(int(grey.sum(dtype=np.float64) / len(grey) + 0.5))
            values -= mean
            values *= np.float32(factor)
            values += mean
        elif values.shape[1] == 3:
            grey = _grey(values, greys, 3)
            values -= grey
            values *= np.float32(factor)
            values += grey
        # Smaller factors stay in range, and brightness does not go below black.
        if factor > 1:
            np.minimum(rows, brightest, out=rows)
            if name != "brightness":
                np.maximum(rows, darkest, out=rows)
    return values.astype(np.uint8).reshape(pixels.shape)


def _decode(data: bytes) -> Bytes | None:
    """Returns the pixels of a JPEG; None for what is not a plain one, or is damaged."""
    jpeg = _installed("simplejpeg")
    try:
        height, width, space, _ = jpeg.decode_jpeg_header(data)
        # Of larger images Pillow says that they may be a decompression bomb.
        if space in _COLOR_SPACES and height * width <= (Image.MAX_IMAGE_PIXELS or 0):
            return jpeg.decode_jpeg(data)
    except ValueError:
        pass
    return None


def _resized(pixels: Bytes, height: int, width: int, interpolation: str) -> Bytes:
    resizer = _installed("cykooz_resizer")
    channels = pixels.shape[2]
    kind = {1: resizer.PixelType.U8, 3: resizer.PixelType.U8x3}[channels]
    # In one piece before it becomes bytes, which copies a view byte by byte.
    data = np.ascontiguousarray(pixels).tobytes()
    source = resizer.ImageData(pixels.shape[1], pixels.shape[0], kind, data)
    target = resizer.ImageData(width, height, kind)
    # It keeps its memory from image to image, so each thread has its own.
    if not hasattr(_own, "resizer"):
        _own.resizer = resizer.Resizer()
    _own.resizer.resize(source, target, _resize_options(interpolation))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, channels)


@cache
def _resize_options(interpolation: str) -> Any:
    resizer = _installed("cykooz_resizer")
    filters = resizer.FilterType
    # Catmull and Rom's is the cubic of Pillow.
    kernel = {"bicubic": filters.catmull_rom, "bilinear": filters.bilinear}[interpolation]
    return resizer.ResizeOptions(resize_alg=resizer.ResizeAlg.convolution(kernel))


def _mirrored(pixels: Bytes) -> Bytes:
    # By channel, since NumPy takes three times as long with three bytes a pixel.
    mirrored = np.empty_like(pixels)
    for channel in range(pixels.shape[2]):
        mirrored[:, :, channel] = pixels[:, ::-1, channel]
    return mirrored


def _workspace(count: int, channels: int) -> tuple[Floats, Floats]:
    # Two arrays (count, channels), kept for each thread: where the allocator gives memory back to
    # the system, getting it again for every image takes longer than all the arithmetic.
    size = count * channels
    if getattr(_own, "workspace", _NONE).size != 2 * size + _GAP:
        _own.workspace = np.empty(2 * size + _GAP, np.float32)
    shape = (count, channels)
    return _own.workspace[:size].reshape(shape), _own.workspace[size + _GAP :].reshape(shape)


def _grey(values: Floats, space: Floats, columns: int) -> Floats:
    """Computes greys as Pillow rounds them, of (N, C) whole numbers; (N, columns), in ``space``."""
    if values.shape[1] == 1:
        return values
    grey = space.reshape(-1)[: len(values) * columns].reshape(-1, columns)
    np.matmul(values, np.repeat(_LUMA, columns, axis=1), out=grey)
    grey += np.float32(0.5)
    return np.floor(grey, out=grey)


def _image(pixels: Bytes) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _pixels(image: Image.Image, channels: int) -> Bytes:
    return np.asarray(image).reshape(image.height, image.width, channels)


@cache
def _installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EngineError(
            'augmentation.engine is "fast", for which a package is missing '
            f"({error}): pip install 'tinynet-twins[fast]', or --set augmentation.engine=pillow"
        ) from None
