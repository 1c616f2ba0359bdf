"""The pixel path gives timm's pixels, and the first layer of every runtime sees the given ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import StrEnum

import numpy as np
from PIL import Image

from tinynet.backend import load_backend
from tinynet.data.augment import augment
from tinynet.data.loader import TrainingBatch
from tinynet.data.preprocessing import preprocess
from tinynet.data.sampling import Sample
from tinynet.recipe import Augmentation
from tinynet.spec import load_spec

from parity.candidates import BASELINE
from parity.checks.base import IDENTICAL, SHARE, Check, compare_equal
from parity.context import Context
from parity.distances import compare_bits
from parity.reference import oracles
from parity.results import CheckResult, Comparison
from parity.tracing import bisection
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect

# SHA-256 of the float32 pixels of `_test_card` at TinyNet-E's preprocessing; equal to timm
# 1.0.31's create_transform(is_training=False) on the same image.
TEST_CARD_SHA256 = "cc807855a0bf10150414d847169f759ab7a3daa29b5153cbbc4a37e8ac25f5cb"
# How four training images of the test card come out; equal to torchvision's for the same drawn
# numbers, see tests/tinynet/data/test_augment.py.
TRAINING_CARD = "86ae4ac40210f18e"
_AUGMENTATION = Augmentation((0.08, 1.0), (3 / 4, 4 / 3), 0.5, 0.4)


class _Part(StrEnum):
    EVALUATION = "images to evaluate"
    TRAINING = "images to train on"
    NORMALISED = "pixels that the twin normalises"
    FED = "what else a batch brings to the device"


class PixelsCheck(Check):
    """Compares images, batches on the device, and the input of the first layer."""

    name = "pixels"
    title = "Every runtime sees the same pixels"
    unit = SHARE
    reason = IDENTICAL

    def compare(self, context: Context) -> Iterator[Comparison]:
        spec, card = load_spec("tinynet_e"), _test_card()
        matches = hashlib.sha256(preprocess(card, spec).tobytes()).hexdigest() == TEST_CARD_SHA256
        note = "" if matches else "not the pixels that timm's transform makes of the test card"
        yield compare_equal("pixel path", "test card", note, part=_Part.EVALUATION)
        crops = [augment(card, spec, _AUGMENTATION, 5, Sample(0, index)) for index in range(4)]
        otherwise = "not the crops, flips and colours that torchvision makes with the same numbers"
        note = oracles.unmarked(TRAINING_CARD, otherwise, *crops)
        yield compare_equal("training images", "training card", note, part=_Part.TRAINING)
        for framework in context.frameworks:
            yield from _fed(framework)
        stem = context.spec.names.stem
        for candidate in (BASELINE, *context.candidates):
            trace, where = context.trace(candidate), f"input of {stem}"
            found = trace[stem].input if stem in trace else None
            yield compare_bits(str(candidate), where, found, context.pixels, **candidate.origin())

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        first = result.failures[0]
        if first.part in (_Part.NORMALISED, _Part.FED):
            data = load_backend(first.framework).data
            source = Source.of(data.Normalise if first.part == _Part.NORMALISED else data.to_device)
            return self.suspect(first, source, f"Training feeds the net other {first.where}.")
        if first.part:
            source = Source.of(preprocess if first.part == _Part.EVALUATION else augment)
            return self.suspect(first, source, f"The {first.where} is different: {first.note}.")
        return bisection.forward(context, context.candidate_of(first))


def _fed(framework: str) -> Iterator[Comparison]:
    # Training normalises in the twin, on the device; evaluation does it in tinynet.
    settings = load_spec("tinynet_e").preprocessing
    values = np.arange(512, dtype=np.uint16).astype(np.uint8)
    images = np.stack([values, values[::-1], np.roll(values, 7)], axis=-1).reshape(2, 16, 16, 3)
    labels, factors = np.array([3, 5], np.int32), np.array([[0.0], [1.25]], np.float32)
    batch = TrainingBatch(images, labels, factors, 2 * factors, ())
    brightness = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    mean, std = np.array((settings.mean, settings.std), np.float32)[:, :, None, None]
    pixels = (brightness - mean) / std
    truths = {"pixels": pixels, "labels": labels, "dropout": factors, "drop_path": 2 * factors}
    found = load_backend(framework).probe.fed(batch, settings)
    for name, truth in truths.items():
        given = found.get(name)
        if given is not None:
            given = given.astype(truth.dtype)  # whatever kind of integer labels are there
        part = _Part.NORMALISED if name == "pixels" else _Part.FED
        title, where = f"{framework}, in training", f"{name} of a batch"
        yield compare_bits(title, where, given, truth, framework=framework, part=part)


def _test_card() -> Image.Image:
    # Every row, column and channel differs, so that no flip, shift or channel swap can hide.
    rows, columns, channels = np.ogrid[0:150, 0:210, 0:3]
    values = (rows * 3 + columns * (channels + 1) + rows * columns // 40 + channels * 60) % 256
    return Image.fromarray(values.astype(np.uint8), "RGB")
