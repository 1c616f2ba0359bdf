"""Faults in pixels, samples, masks and first weights, and in what is judged on."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import ImageChops

from tinynet.backend import Backend
from tinynet.data import augment, evaluation_batches, masks, preprocessing, sampling
from tinynet.net import initialise
from tinynet.training import loop

from parity.faults.planting import BOTH, Group, Injection, forward, replaced

GROUP = Group("data")


@GROUP.fault("pixels", "test card", "tinynet/data/preprocessing", "preprocess")
def blue_green_red() -> Injection:
    """Photographs are read with their channels in the order of OpenCV."""
    return replaced(
        preprocessing, "preprocess", lambda right, image, spec: right(image, spec)[::-1].copy()
    )


@GROUP.fault("pixels", "test card", "tinynet/data/preprocessing", "preprocess")
def mean_and_deviation_of_another_family() -> Injection:
    """Pixels are normalised by 0.5 and 0.5 instead of ImageNet's mean and deviation."""
    return _preprocessed(mean=(0.5,) * 3, std=(0.5,) * 3)


@GROUP.fault("pixels", "test card", "tinynet/data/preprocessing", "preprocess")
def bilinear_for_bicubic() -> Injection:
    """Photographs are resized by another interpolation."""
    return _preprocessed(interpolation="bilinear")


def _preprocessed(**changes: Any) -> Injection:
    def faulty(right: Any, image: Any, spec: Any) -> Any:
        settings = dataclasses.replace(spec.preprocessing, **changes)
        return right(image, dataclasses.replace(spec, preprocessing=settings))

    return replaced(preprocessing, "preprocess", faulty)


@GROUP.fault("pixels", "test card", "tinynet/data/preprocessing", "preprocess")
def shifted_crop() -> Injection:
    """The centre that is cut out of a photograph lies a pixel to the left."""
    return replaced(
        preprocessing,
        "preprocess",
        lambda right, image, spec: right(ImageChops.offset(image, 1, 0), spec),
    )


@GROUP.fault("pixels", "training card", "tinynet/data/augment", "draw_flip")
def no_flips() -> Injection:
    """Training images are never mirrored."""
    return replaced(augment, "draw_flip", lambda right, *args: False)


@GROUP.fault("pixels", "training card", "tinynet/data/augment", "draw_box")
def no_crops() -> Injection:
    """Training images are not cropped."""
    return replaced(augment, "draw_box", lambda right, size, *args: (0, 0, *size))


@GROUP.fault("pixels", "pixels of a batch", "data", "Normalise", BOTH)
def not_divided_by_the_deviation(twin: Backend) -> Injection:
    """Pixels to train on are not divided by the standard deviation."""

    def faulty(right: Any, layer: Any, brightness: Any) -> Any:
        return right(layer, brightness) * layer.std

    return replaced(twin.data.Normalise, forward(twin), faulty)


@GROUP.fault("pixels", "labels of a batch", "data", "to_device", ("mindspore",))
def labels_of_the_next_image(twin: Backend) -> Injection:
    """Each image to train on has the label of the one before it."""

    def faulty(right: Any, batch: Any, device: Any) -> Any:
        return right(batch._replace(labels=np.roll(batch.labels, 1)), device)

    return replaced(twin.data, "to_device", faulty)


@GROUP.fault("schedule", "order", "tinynet/data/sampling", "samples_at")
def every_epoch_in_the_same_order() -> Injection:
    """All epochs have the order of the first."""

    def faulty(right: Any, positions: Any, count: int, seed: int) -> Any:
        return right([position % count for position in positions], count, seed)

    return replaced(sampling, "samples_at", faulty)


@GROUP.fault("schedule", "dropout and drop-path", "tinynet/data/masks", "draw_masks", official=True)
def dropped_and_kept_confused() -> Injection:
    """Dropout and drop-path are given the share to drop where they expect the one to keep."""

    def faulty(right: Any, spec: Any, recipe: Any, *args: Any) -> Any:
        rates = {name: 1.0 - getattr(recipe, name) for name in ("dropout_rate", "drop_path_rate")}
        return right(spec, dataclasses.replace(recipe, **rates), *args)

    return replaced(masks, "draw_masks", faulty)


@GROUP.fault(
    "schedule", "conv_stem.weight", "tinynet/net/initialise", "initial_state", official=True
)
def weights_drawn_without_a_seed() -> Injection:
    """Each process draws initial weights of its own, so ranks start from different ones."""
    draws = itertools.count()

    def faulty(right: Any, shape: Any, *key: Any) -> Any:
        return right(shape, *key, next(draws))

    return replaced(initialise, "normal", faulty, here=True)


@GROUP.fault(
    "schedule",
    "blocks.0.0.conv_dw.weight",
    "tinynet/net/initialise",
    "initial_state",
    official=True,
)
def fan_out_of_all_groups() -> Injection:
    """The initial weights of depthwise convolutions are too small: fan-out ignores the groups."""

    def faulty(right: Any, shape: Any, seed: int, key: str) -> Any:
        scale = 1.0 / math.sqrt(shape[0]) if ".conv_dw." in key else 1.0
        return scale * right(shape, seed, key)

    return replaced(initialise, "normal", faulty, here=True)


@GROUP.fault(
    "schedule", "blocks.1.0.se.conv_reduce.weight", "tinynet/net/initialise", "initial_state",
    official=True,
)  # fmt: skip
def squeeze_excite_keeps_default_weights() -> Injection:
    """Squeeze-excite's convolutions start from the framework's default, 1 / sqrt(3 fan-in)."""

    def faulty(right: Any, shape: Any, seed: int, key: str) -> Any:
        out_channels, in_channels = shape[:2]
        scale = math.sqrt(out_channels / (6.0 * in_channels)) if ".se." in key else 1.0
        return scale * right(shape, seed, key)

    return replaced(initialise, "normal", faulty, here=True)


@GROUP.fault(
    "metrics", "number of images", "tinynet/data/evaluation_batches", "batches", official=True
)
def last_batch_dropped() -> Injection:
    """Validation leaves out the last batch where it is a part of one."""

    def faulty(right: Any, dataset: Any, batch_size: int, *args: Any) -> Iterator[Any]:
        return (b for b in right(dataset, batch_size, *args) if len(b.labels) == batch_size)

    return replaced(evaluation_batches, "batches", faulty)


@GROUP.fault(
    "metrics", "number of images", "tinynet/data/evaluation_batches", "RankShard", official=True
)
def only_the_first_rank_evaluates() -> Injection:
    """Of several processes only the first one evaluates its share of the images."""

    def faulty(right: Any, share: Any, dataset: Any, rank: int, ranks: int) -> None:
        right(share, dataset if rank == 0 else _Nothing(dataset.spec), rank, ranks)

    return replaced(evaluation_batches.RankShard, "__init__", faulty)


class _Nothing:
    """No images at all."""

    def __init__(self, spec: Any):
        self.spec = spec

    def __len__(self) -> int:
        return 0


@GROUP.fault("metrics", "number of images", "tinynet/training/loop", "evaluate", official=True)
def validation_on_a_subset() -> Injection:
    """Training judges, and finds its best weights, on a part of the validation set."""

    def faulty(right: Any, dataset: Any, rank: int, ranks: int) -> Any:
        return right(dataset, rank, 2 * ranks)

    return replaced(loop, "RankShard", faulty, here=True)


@GROUP.fault("trajectory", "loss of step 1", "tinynet/training/loop", "train")
def first_batch_skipped() -> Injection:
    """Each step of the loop trains on the batch of the step after it."""

    def faulty(right: Any, *args: Any, first_step: int, last_step: int, **settings: Any) -> Any:
        return right(*args, first_step=first_step + 1, last_step=last_step + 1, **settings)

    return replaced(loop, "load_batches", faulty, here=True)
