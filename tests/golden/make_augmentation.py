"""Writes augmentation.json: what torchvision and timm make of images with the numbers we draw.

Run it where timm and torchvision are installed:

    PYTHONPATH=. python tests/golden/make_augmentation.py

The tests load this file for its images and cases, so nothing at its top needs timm.
"""

import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tinynet.data.augment import draw_box, draw_flip, draw_jitter
from tinynet.data.randaugment import OPERATIONS, Operation, draw_operations
from tinynet.data.sampling import Sample
from tinynet.recipe import Augmentation, RandAugment
from tinynet.spec import Preprocessing, load_spec

GOLDEN = Path(__file__).with_name("augmentation.json")
SEED = 5
SAMPLES = [Sample(epoch, index) for epoch in (0, 3) for index in range(6)]

COLOR = dataclasses.replace(load_spec("tinynet_e"), input_size=(3, 40, 48))
SPECS = {
    "color": COLOR,
    "bilinear": dataclasses.replace(
        COLOR,
        preprocessing=Preprocessing((0.5, 0.4, 0.1), (0.2, 0.2, 0.2), interpolation="bilinear"),
    ),
    "grey": dataclasses.replace(
        COLOR, input_size=(1, 40, 48), preprocessing=Preprocessing((0.3,), (0.3,))
    ),
}
PLAIN = Augmentation((0.08, 1.0), (3 / 4, 4 / 3), 0.5, 0.4)
AUGMENTATIONS = {
    "jitter": PLAIN,
    "strong jitter": dataclasses.replace(PLAIN, color_jitter=1.5),
    "crop and flip": dataclasses.replace(PLAIN, color_jitter=0.0),
    "randaugment": dataclasses.replace(PLAIN, randaugment=RandAugment(2, 9.0, 0.5, 0.5)),
    "weak randaugment": dataclasses.replace(PLAIN, randaugment=RandAugment(3, 4.0, 0.5, 1.0)),
}
MAGNITUDES = (0.0, 2.4, 2.5, 5.0, 7.7, 9.0, 10.0)

# Sizes that no part of the wanted area fits into, with the range of ratios.
ELONGATED = [
    ((1000, 10), (3 / 4, 4 / 3)),
    ((10, 1000), (3 / 4, 4 / 3)),
    ((1, 300), (0.5, 0.8)),
    ((300, 1), (1.6, 2.0)),
    ((301, 7), (1.1, 1.3)),
]


def sample_image(mode):
    """An image that is smooth in some places and sharp in others, with few values in one corner."""
    y, x, c = np.ogrid[:97, :131, : len(mode)]
    values = (x * x * (c + 1) // 7 + 37 * y * (2 * c + 1) + x * y // 3 + 91 * c) % 256
    values[:30, :50] = 40 + (values[:30, :50] > 128)
    return Image.frombytes(mode, (131, 97), values.astype(np.uint8).tobytes())


def small_image(mode):
    """What RandAugment's operations are tried on; not all brightnesses are there."""
    values = np.asarray(sample_image(mode))[20:60, 40:90] // 2 + 30
    return Image.fromarray(values)


def fingerprint(pixels):
    """The start of a hash of the bytes of an image or array."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def operations():
    """Every operation at many magnitudes in both directions."""
    for name, magnitude, sign in itertools.product(OPERATIONS, MAGNITUDES, (1, -1)):
        if name == "Posterize" and magnitude < 2.5:
            continue  # timm asks for no bits at all, which Pillow 13 refuses
        yield f"{name} {magnitude} {sign:+d}", Operation(name, magnitude / 10, sign)


def main():
    from timm.data import auto_augment
    from torchvision.transforms import InterpolationMode, RandomResizedCrop
    from torchvision.transforms import functional as F

    def timm_operation(image, operation, spec):
        # Which way to go is the only thing that timm draws for a certain magnitude.
        auto_augment.random.random = lambda: 0.1 if operation.sign == 1 else 0.9
        mean = tuple(min(255, round(255 * mean)) for mean in spec.preprocessing.mean)
        parameters = {
            "img_mean": mean if len(mean) == 3 else mean[0],
            "interpolation": getattr(Image.Resampling, spec.preprocessing.interpolation.upper()),
        }
        op = auto_augment.AugmentOp(operation.name, 1.0, operation.strength * 10, parameters)
        return op(image)

    document = {
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("timm", "torchvision", "torch", "pillow", "numpy")
        },
        "operations": {},
        "images": {},
        "centres": {},
    }
    for kind, spec in SPECS.items():
        mode = "L" if spec.input_size[0] == 1 else "RGB"
        document["operations"][kind] = {
            name: fingerprint(timm_operation(small_image(mode), operation, spec))
            for name, operation in operations()
        }
        for name, augmentation in AUGMENTATIONS.items():
            hashes = document["images"][f"{kind}, {name}"] = []
            for sample in SAMPLES:
                image = sample_image(mode)
                left, top, right, bottom = draw_box(image.size, augmentation, SEED, sample)
                image = F.resized_crop(
                    image,
                    top,
                    left,
                    bottom - top,
                    right - left,
                    spec.input_size[1:],
                    InterpolationMode(spec.preprocessing.interpolation),
                )
                if draw_flip(augmentation, SEED, sample):
                    image = F.hflip(image)
                if augmentation.randaugment is not None:
                    for operation in draw_operations(augmentation.randaugment, SEED, sample):
                        image = timm_operation(image, operation, spec)
                else:
                    for change, factor in draw_jitter(augmentation, SEED, sample):
                        image = getattr(F, f"adjust_{change}")(image, factor)
                hashes.append(fingerprint(image))
    for (width, height), ratio in ELONGATED:
        image = Image.new("L", (width, height))
        top, left, h, w = RandomResizedCrop.get_params(image, [1.0, 1.0], list(ratio))
        document["centres"][f"{width} x {height}"] = [left, top, left + w, top + h]
    GOLDEN.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
