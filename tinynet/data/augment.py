"""How a training image varies: crop, flip, and colour jitter or RandAugment, on Pillow.

Every number is drawn from a stream of its own, named by seed, epoch, image and purpose, so that
an image looks the same whichever process prepares it and in whichever framework it ends.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from tinynet.data.preprocessing import RESAMPLING, ImageError, image_mode
from tinynet.data.randaugment import apply_operation, draw_operations, filling
from tinynet.data.sampling import Sample
from tinynet.recipe import Augmentation, RandAugment
from tinynet.spec import Spec
from tinynet.utils.random_numbers import uniform

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels

# Source: torchvision 0.29, RandomResizedCrop.get_params.
CROP_ATTEMPTS = 10


def augment(
    image: Image.Image, spec: Spec, augmentation: Augmentation, seed: int, sample: Sample
) -> npt.NDArray[np.uint8]:
    """Makes one training image as the net sees it, except for normalisation.

    A random part is resized to the input size with the spec's interpolation and antialiasing, then
    flipped by chance, then jittered in colour or given to RandAugment, which takes the place of
    the jitter as in timm.

    Args:
        image: mode "RGB" for specs with 3 input channels, "L" for 1.
        spec: its ``input_size`` and ``preprocessing`` are used.
        augmentation: the ranges.
        seed: of the run.
        sample: which image in which epoch.

    Returns:
        Uint8 (H, W, C).

    Raises:
        ImageError: an empty image.

    Source: timm 1.0, ``transforms_imagenet_train``.
    """
    channels, height, width = spec.input_size
    mode = image_mode(spec)
    if image.mode != mode:
        raise ValueError(f'image has mode "{image.mode}", expected "{mode}" for {spec.name}')
    box = draw_box(image.size, augmentation, seed, sample)
    # Not resize(box=...), which is no faster and lets pixels outside of the crop bleed into its
    # edges; so the result is torchvision's bit for bit.
    image = image.crop(box).resize((width, height), RESAMPLING[spec.preprocessing.interpolation])
    if draw_flip(augmentation, seed, sample):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augmentation.randaugment is not None:
        image = apply_randaugment(image, spec, augmentation.randaugment, seed, sample)
    else:
        for name, factor in draw_jitter(augmentation, seed, sample):
            # An image without colour has no saturation.
            if not (name == "saturation" and mode == "L"):
                image = _ENHANCERS[name](image).enhance(factor)
    return np.array(image).reshape(height, width, channels)


def apply_randaugment(
    image: Image.Image, spec: Spec, randaugment: RandAugment, seed: int, sample: Sample
) -> Image.Image:
    """Draws RandAugment's operations for an image of the net's size, and applies them."""
    fill = filling(spec.preprocessing)
    for operation in draw_operations(randaugment, seed, sample):
        image = apply_operation(image, operation, fill)
    return image


def draw_box(size: tuple[int, int], augmentation: Augmentation, seed: int, sample: Sample) -> Box:
    """Draws the part that is seen of an image of ``size``, (width, height) in pixels.

    Its share of the area is uniform in ``scale``, the logarithm of its width / height uniform in
    that of ``ratio``. What does not fit into the image is drawn again, ten times in all; then it
    is the largest part around the centre whose ratio is in range.

    Raises:
        ImageError: an empty image.

    Source: torchvision 0.29, ``RandomResizedCrop.get_params``.
    """
    width, height = size
    if not (width and height):
        raise ImageError(f"the image is empty ({width} x {height} pixels)")
    low_scale, high_scale = augmentation.scale
    low_ratio, high_ratio = augmentation.ratio
    low, high = math.log(low_ratio), math.log(high_ratio)
    numbers = uniform((CROP_ATTEMPTS, 4), seed, sample.epoch, sample.index, "crop")
    for scale, ratio, x, y in numbers.tolist():
        area = width * height * (low_scale + scale * (high_scale - low_scale))
        aspect = math.exp(low + ratio * (high - low))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, top, left + w, top + h
    # At least one pixel of an image of a single line or row.
    w = min(width, max(1, round(height * high_ratio)))
    h = min(height, max(1, round(width / low_ratio)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def draw_flip(augmentation: Augmentation, seed: int, sample: Sample) -> bool:
    """Draws whether an image is mirrored, left to right."""
    return bool(uniform((), seed, sample.epoch, sample.index, "flip") < augmentation.flip)


def draw_jitter(augmentation: Augmentation, seed: int, sample: Sample) -> list[tuple[str, float]]:
    """Draws the changes of colour: (name, factor) in the order to apply them, or none.

    Factors of "brightness", "contrast" and "saturation" are uniform in
    [max(0, 1 - j), 1 + j], where j is ``color_jitter``, and each order is as probable.

    Source: torchvision 0.29, ``ColorJitter``.
    """
    jitter = augmentation.color_jitter
    if jitter == 0:
        return []
    low, high = max(0.0, 1 - jitter), 1 + jitter
    numbers = uniform((2, len(_ENHANCERS)), seed, sample.epoch, sample.index, "jitter")
    factors = (low + numbers[0] * (high - low)).tolist()
    changes = list(zip(_ENHANCERS, factors, strict=True))
    return [changes[place] for place in np.argsort(numbers[1], kind="stable")]


_ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}
