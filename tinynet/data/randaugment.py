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
    """One operation that was drawn: its strength, from 0 to 1, and its direction, 1 or -1."""

    name: str
    strength: float
    sign: int


class Filling(NamedTuple):
    """What moved images are filled with, and how they are resampled, as Pillow's values."""

    color: int | tuple[int, ...]
    resampling: Image.Resampling


def draw_operations(randaugment: RandAugment, seed: int, sample: Sample) -> list[Operation]:
    """Draws the operations for one image; there may be fewer than ``layers``, or none."""
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
    """Returns the filling of images for a net: its mean colour, which becomes zero."""
    color = tuple(min(255, round(255 * mean)) for mean in preprocessing.mean)
    resampling = RESAMPLING[preprocessing.interpolation]
    return Filling(color[0] if len(color) == 1 else color, resampling)


def apply_operation(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    """Applies one operation to an image of mode "RGB" or "L"; mode and size stay."""
    return _FUNCTIONS[operation.name](image, operation, fill)


_Function = Callable[[Image.Image, Operation, Filling], Image.Image]


def _rotate(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    degrees = operation.sign * operation.strength * MAX_DEGREES
    return image.rotate(degrees, fill.resampling, fillcolor=fill.color)


def _posterize(image: Image.Image, operation: Operation, fill: Filling) -> Image.Image:
    # The stronger, the more bits stay: timm's range, except that Pillow refuses its zero bits below
    # a quarter.
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
        affine = Image.Transform.AFFINE
        coefficients = matrix(operation.sign * operation.strength, *image.size)
        return image.transform(
            image.size, affine, coefficients, fill.resampling, fillcolor=fill.color
        )

    return apply


# The order is part of what a seed means.
_FUNCTIONS: dict[str, _Function] = {
    "AutoContrast": lambda image, operation, fill: ImageOps.autocontrast(image),
    "Equalize": lambda image, operation, fill: ImageOps.equalize(image),
    "Invert": lambda image, operation, fill: ImageOps.invert(image),
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
