"""Writes preprocessing.json: what timm's evaluation transform makes of some images.

Run it where timm, torchvision, scikit-image and scikit-learn are installed:

    python tests/golden/make_preprocessing.py

The tests load this file for its images and cases, so nothing at its top needs timm.
"""

import hashlib
import importlib.metadata
import importlib.util
import itertools
import json
import re
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).with_name("preprocessing.json")

NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "grey": ((0.1307,), (0.3081,)),
}
# The family's sizes, in every combination of what its specs use.
FAMILY = [
    ((3, size, size), 0.875, normalisation, interpolation)
    for size, normalisation, interpolation in itertools.product(
        (106, 152, 184, 188, 192, 224), ("imagenet", "half"), ("bicubic", "bilinear")
    )
]
# What a user's own spec may ask for. A square crop of 100 / 0.9 leaves an odd margin.
OTHERS = [
    ((3, 100, 100), 0.9, "imagenet", "bicubic"),
    ((3, 64, 64), 1.0, "imagenet", "bicubic"),
    ((3, 96, 160), 0.875, "imagenet", "bicubic"),
    ((3, 160, 97), 0.9, "half", "bilinear"),
    ((1, 28, 28), 0.875, "grey", "bilinear"),
    ((1, 96, 64), 0.95, "grey", "bicubic"),
]
CASES = {
    f"{'x'.join(map(str, size))} crop {crop} {normalisation} {interpolation}": (
        size,
        crop,
        normalisation,
        interpolation,
    )
    for size, crop, normalisation, interpolation in FAMILY + OTHERS
}


def sample_images(folder):
    """Name -> path: photographs inside installed packages, and images written into ``folder``.

    The written ones are made by a formula and stored without loss, so that no encoder matters.
    """
    paths = {
        **{name: _installed("sklearn", "datasets/images", name) for name in _SKLEARN},
        **{name: _installed("skimage", "data", name) for name in _SKIMAGE},
    }
    colour = _formula(61, 47, "RGB")
    palette = colour.quantize(16, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees. Must be ignored.
    made = {
        "grey.png": (_formula(50, 40, "L"), {}),
        "bilevel.png": (_formula(50, 40, "L").convert("1", dither=Image.Dither.NONE), {}),
        "grey_alpha.png": (_formula(50, 40, "LA"), {}),
        "palette.png": (palette, {}),
        "palette_transparent.png": (palette, {"transparency": bytes(range(0, 256, 16))}),
        "cmyk.tif": (_formula(61, 47, "CMYK"), {}),
        "alpha.png": (_formula(61, 47, "RGBA"), {}),
        "portrait.png": (_formula(97, 241, "RGB"), {}),
        "landscape.png": (_formula(311, 230, "RGB"), {}),
        "odd.png": (_formula(333, 257, "RGB"), {}),
        "tiny.png": (_formula(7, 5, "RGB"), {}),
        "pixel.png": (_formula(1, 1, "RGB"), {}),
        "turned.png": (colour, {"exif": exif}),
    }
    for name, (image, options) in made.items():
        paths[name] = Path(folder) / name
        image.save(paths[name], **options)
    return paths


_SKLEARN = ("china.jpg", "flower.jpg")
_SKIMAGE = ("coffee.png", "chelsea.png", "rocket.jpg")


def _installed(package, folder, name):
    # By path: importing these packages takes seconds, and skimage.data needs more of them.
    return Path(importlib.util.find_spec(package).origin).parent / folder / name


def _formula(width, height, mode):
    # Odd multipliers modulo 256: sharp and smooth in turn, different in every channel.
    y, x, c = np.ogrid[:height, :width, : len(Image.new(mode, (1, 1)).getbands())]
    values = (x * x * (c + 1) // 7 + 37 * y * (2 * c + 1) + x * y // 3 + 91 * c) % 256
    return Image.frombytes(mode, (width, height), values.astype(np.uint8).tobytes())


def sha256(array):
    """Hash of an array's bytes, row by row, or of an image's."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def samples(pixels):
    """A few values of (C, H, W), so that a failed comparison tells more than a hash."""
    channels, height, width = pixels.shape
    places = ((0, 0, 0), (channels // 2, height // 2, width // 2), (-1, -1, -1))
    return [float(pixels[place]) for place in places]


def main():
    import torch

    # torchvision wheels for CUDA do not load their operators beside a CPU build of torch, and then
    # fail on import because these two are not defined. The transforms do not use them.
    for name in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", schema)
    from timm.data import create_transform

    document = {
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("timm", "torchvision", "torch", "pillow", "numpy")
        },
        "decoded": {},
        "inputs": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for image_name, path in sample_images(folder).items():
            # As timm's ImageDataset and validate.py open them.
            decoded = {}
            for mode in ("RGB", "L"):
                with Image.open(path) as image:
                    decoded[mode] = image.convert(mode)
            document["decoded"][image_name] = {mode: sha256(i) for mode, i in decoded.items()}
            inputs = document["inputs"][image_name] = {}
            for case_name, (size, crop, normalisation, interpolation) in CASES.items():
                mean, std = NORMALISATIONS[normalisation]
                transform = create_transform(
                    size,
                    is_training=False,
                    interpolation=interpolation,
                    mean=mean,
                    std=std,
                    crop_pct=crop,
                )
                pixels = transform(decoded["RGB" if size[0] == 3 else "L"]).numpy()
                inputs[case_name] = {"sha256": sha256(pixels), "samples": samples(pixels)}
    text = json.dumps(document, indent=1)
    # One line per case instead of eight: its values are the only ones indented by 4 or more.
    text = re.sub(r"(?<=[{[])\n {4,}|\n {3,4}(?=[]}])", "", text)
    text = re.sub(r"\n {4,}", " ", text)
    GOLDEN.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
