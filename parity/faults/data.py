"""Faults in pixels, samples, masks and first weights, and in the images of the evaluation."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import ImageChops

from tinynet.data import augment, evaluation_batches, masks, preprocessing, sampling
from tinynet.net import initialise
from tinynet.training import loop

from parity.faults.planting import BOTH, MINDSPORE, Group, Original

DATA = Group("data")
_WEIGHTS = functools.partial(
    *(DATA, "tinynet.net.initialise:normal", "schedule"),
    answers=initialise.initial_state,
    official=True,
)
_IMAGES = functools.partial(DATA, check="metrics", where="number of images", official=True)


@DATA(preprocessing.preprocess, "pixels", "test card")
def blue_green_red(right: Original, image: Any, spec: Any) -> Any:
    """Photographs are read with their channels in the order of OpenCV."""
    return right(image, spec)[::-1].copy()


@DATA(preprocessing.preprocess, "pixels", "test card")
def mean_and_deviation_of_another_family(right: Original, image: Any, spec: Any) -> Any:
    """Pixels are normalised by 0.5 and 0.5 instead of ImageNet's mean and deviation."""
    return _preprocessed(right, image, spec, mean=(0.5,) * 3, std=(0.5,) * 3)


@DATA(preprocessing.preprocess, "pixels", "test card")
def bilinear_for_bicubic(right: Original, image: Any, spec: Any) -> Any:
    """Photographs are resized by another interpolation."""
    return _preprocessed(right, image, spec, interpolation="bilinear")


def _preprocessed(right: Original, image: Any, spec: Any, **changes: Any) -> Any:
    settings = dataclasses.replace(spec.preprocessing, **changes)
    return right(image, dataclasses.replace(spec, preprocessing=settings))


@DATA(preprocessing.preprocess, "pixels", "test card")
def shifted_crop(right: Original, image: Any, spec: Any) -> Any:
    """The centre that is cut out of a photograph lies a pixel to the left."""
    return right(ImageChops.offset(image, 1, 0), spec)


@DATA(augment.draw_flip, "pixels", "training card")
def no_flips(right: Original, *args: Any) -> bool:
    """Training images are never mirrored."""
    return False


@DATA(augment.draw_box, "pixels", "training card")
def no_crops(right: Original, size: Any, *args: Any) -> Any:
    """Training images are not cropped."""
    return (0, 0, *size)


@DATA("data:Normalise.forward", "pixels", "pixels of a batch", BOTH)
def not_divided_by_the_deviation(right: Original, layer: Any, brightness: Any) -> Any:
    """Pixels to train on are not divided by the standard deviation."""
    return right(layer, brightness) * layer.std


@DATA("data:to_device", "pixels", "labels of a batch", MINDSPORE)
def labels_of_the_next_image(right: Original, batch: Any, device: Any) -> Any:
    """Each image to train on has the label of the one before it."""
    return right(batch._replace(labels=np.roll(batch.labels, 1)), device)


@DATA(sampling.samples_at, "schedule", "order")
def every_epoch_in_the_same_order(right: Original, positions: Any, count: int, seed: int) -> Any:
    """All epochs have the order of the first."""
    return right([position % count for position in positions], count, seed)


@DATA(masks.draw_masks, "schedule", "dropout and drop-path", official=True)
def dropped_and_kept_confused(right: Original, spec: Any, recipe: Any, *args: Any) -> Any:
    """Dropout and drop-path are given the share to drop where they expect the one to keep."""
    rates = {name: 1.0 - getattr(recipe, name) for name in ("dropout_rate", "drop_path_rate")}
    return right(spec, dataclasses.replace(recipe, **rates), *args)


@_WEIGHTS("conv_stem.weight")
def weights_drawn_without_a_seed(right: Original, shape: Any, *key: Any) -> Any:
    """Each process draws initial weights of its own, so ranks start from different ones."""
    return right(shape, *key, right.count)


@_WEIGHTS("blocks.0.0.conv_dw.weight")
def fan_out_of_all_groups(right: Original, shape: Any, seed: int, key: str) -> Any:
    """The initial weights of depthwise convolutions are too small: fan-out ignores the groups."""
    scale = 1.0 / math.sqrt(shape[0]) if ".conv_dw." in key else 1.0
    return scale * right(shape, seed, key)


@_WEIGHTS("blocks.1.0.se.conv_reduce.weight")
def squeeze_excite_keeps_default_weights(right: Original, shape: Any, seed: int, key: str) -> Any:
    """Squeeze-excite's convolutions start from the framework's default, 1 / sqrt(3 fan-in)."""
    out_channels, in_channels = shape[:2]
    scale = math.sqrt(out_channels / (6.0 * in_channels)) if ".se." in key else 1.0
    return scale * right(shape, seed, key)


@_IMAGES(evaluation_batches.batches)
def last_batch_dropped(right: Original, dataset: Any, batch_size: int, *args: Any) -> Iterator[Any]:
    """Validation leaves out the last batch where it is a part of one."""
    return (b for b in right(dataset, batch_size, *args) if len(b.labels) == batch_size)


@_IMAGES(evaluation_batches.RankShard.__init__)
def only_the_first_rank_evaluates(
    right: Original, share: Any, dataset: Any, rank: int, ranks: int
) -> None:
    """Of several processes only the first one evaluates its share of the images."""
    right(share, dataset if rank == 0 else _Nothing(dataset.spec), rank, ranks)


class _Nothing:
    """No images at all."""

    def __init__(self, spec: Any):
        self.spec = spec

    def __len__(self) -> int:
        return 0


@_IMAGES("tinynet.training.loop:RankShard", answers=loop.evaluate)
def validation_on_a_subset(right: Original, dataset: Any, rank: int, ranks: int) -> Any:
    """Training evaluates, and finds its best weights, on a part of the validation set."""
    return right(dataset, rank, 2 * ranks)


@DATA("tinynet.training.loop:load_batches", "trajectory", "loss of step 1", answers=loop.train)
def first_batch_skipped(right: Original, *args: Any, **settings: Any) -> Any:
    """Each step of the loop trains on the batch of the step after it."""
    moved = {key: settings[key] + 1 for key in ("first_step", "last_step")}
    return right(*args, **settings | moved)
