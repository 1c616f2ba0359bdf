"""RandAugment on Pillow: a few random operations, each of a random strength.

Source: Cubuk et al., RandAugment (arXiv 1909.13719), with the operations and ranges of timm's
``rand-m9-mstd0.5`` (timm 1.0.31, ``auto_augment.py``, which follows EfficientNet's TPU code).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from tinynet.data.preprocessing import RESAMPLING
from tinynet.data.sampling import Sample
from tinynet.recipe import RandAugment
from tinynet.spec import Preprocessing
from tinynet.utils.random_numbers import normal, uniform

# The strength at which an operation is at the end of its range.
FULL_STRENGTH = 10.0

MAX_DEGREES = 30.0
MAX_SHEAR = 0.3
# Of the side of the image.
MAX_TRANSLATION = 0.45
MAX_ADDED = 110
# SolarizeAdd changes only what is darker.
ADD_BELOW = 128
MAX_BITS = 4
# Factors of colour, contrast, brightness and sharpness go from 0.1 to 1.9.
MIN_FACTOR = 0.1
FACTOR_RANGE = 1.8


class Operation(NamedTuple):
    """One operation that was drawn.

    ``strength`` is in units of the whole range, 0 to 1; ``sign``, 1 or -1, is the direction of
    those that have one.
    """

    name: str
    strength: float
    sign: int


class Filling(NamedTuple):
    """What moved images are filled with, and how they are resampled: Pillow's values."""

    color: int | tuple[int, ...]
    resampling: Image.Resampling


def draw_operations(randaugment: RandAugment, seed: int, sample: Sample) -> list[Operation]:
    """Draws the operations for one image; there may be fewer than ``layers``, or none.

    Args:
        randaugment: how many, how strong, how probable.
        seed: of the run.
        sample: which image in which epoch.
    """
    layers = randaugment.layers
    key = (seed, sample.epoch, sample.index)
    choices = uniform((layers, 3), *key, "randaugment").tolist()
    # Under a key of its own: drawn from the same numbers, strengths would follow the choices.
    noise = normal((layers,), *key, "randaugment strength").tolist()
    operations: list[Operation] = []
    for (applied, which, direction), deviation in zip(choices, noise, strict=True):
        if applied < randaugment.probability:
            magnitude = randaugment.magnitude + randaugment.magnitude_std * deviation
            strength = min(max(magnitude / FULL_STRENGTH, 0.0), 1.0)
            name = OPERATIONS[int(which * len(OPERATIONS))]
            operations.append(Operation(name, strength, 1 if direction < 0.5 else -1))
    return operations


def filling(preprocessing: Preprocessing) -> Filling:
    """What to fill with in images for a net: its mean colour, which becomes zero."""
    color = tuple(min(255, round(255 * mean)) for mean in preprocessing.mean)
    resampling = RESAMPLING[preprocessing.interpolation]
    return Filling(color[0] if len(color) == 1 else color, resampling)


def apply_operation(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    """Applies one operation.

    Args:
        image: mode "RGB" or "L".
        operation: from :func:`draw_operations`.
        fill: from :func:`filling`.

    Returns:
        An image of the same mode and size.
    """
    return _FUNCTIONS[operation.name](image, operation, fill)


_Function = Callable[[Image.Image, Operation, Filling], Image.Image]


def _auto_contrast(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    return ImageOps.equalize(image)


def _invert(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    return ImageOps.invert(image)


def _rotate(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    degrees = operation.sign * operation.strength * MAX_DEGREES
    return image.rotate(degrees, fill.resampling, fillcolor=fill.color)


def _posterize(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    # The stronger, the more bits stay: timm's range, but for its no bits below a quarter, which
    # Pillow refuses.
    return ImageOps.posterize(image, max(1, int(operation.strength * MAX_BITS)))


def _solarize(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    # The stronger, the fewer pixels are inverted. That is timm's range.
    return ImageOps.solarize(image, int(operation.strength * 256))


def _solarize_add(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    return image.point(_added(int(operation.strength * MAX_ADDED)) * len(image.getbands()))


@cache
def _added(amount: int) -> list[int]:
    brightness = np.arange(256)
    return np.where(brightness < ADD_BELOW, brightness + amount, brightness).tolist()


class _Enhancer(Protocol):
    def enhance(self, factor: float) -> Image.Image: ...


def _enhance(enhancer: Callable[[Image.Image], _Enhancer]) -> _Function:
    def apply(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
        return enhancer(image).enhance(operation.strength * FACTOR_RANGE + MIN_FACTOR)

    return apply


def _move(matrix: Callable[[float, int, int], tuple[float, ...]]) -> _Function:
    def apply(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
        coefficients = matrix(operation.sign * operation.strength, *image.size)
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            coefficients,
            fill.resampling,
            fillcolor=fill.color,
        )

    return apply


# The order is part of what a seed means.
_FUNCTIONS: dict[str, _Function] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Rotate": _rotate,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "ShearX": _move(lambda share, w, h: (1, share * MAX_SHEAR, 0, 0, 1, 0)),
    "ShearY": _move(lambda share, w, h: (1, 0, 0, share * MAX_SHEAR, 1, 0)),
    "TranslateXRel": _move(lambda share, w, h: (1, 0, share * MAX_TRANSLATION * w, 0, 1, 0)),
    "TranslateYRel": _move(lambda share, w, h: (1, 0, 0, 0, 1, share * MAX_TRANSLATION * h)),
}
OPERATIONS = tuple(_FUNCTIONS)
