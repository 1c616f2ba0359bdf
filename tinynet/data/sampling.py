"""Which samples make up a step: one endless stream, the same for every number of devices.

Position p of the stream is place p % N in the shuffled order of epoch p // N, N being the size
of the data set, and step n takes positions n B to (n + 1) B - 1. So every epoch has each sample
exactly once, every batch is full, though it may reach into the next epoch, and a run is resumed
by its step alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tinynet.net.complexity import layers
from tinynet.spec import Spec
from tinynet.utils.random_numbers import uniform


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One image in one epoch. All random numbers about it are keyed by these and the seed."""

    epoch: int
    index: int


class BatchingError(ValueError):
    """A batch that cannot be split as asked. The message is one line."""


def samples_at(positions: Sequence[int], images: int, seed: int) -> list[Sample]:
    """Returns the samples at some positions, from 0, of the stream of so many ``images``."""
    return [
        Sample(position // images, int(_order(position // images, images, seed)[position % images]))
        for position in positions
    ]


def part_positions(step: int, batch_size: int, parts: int, part: int) -> range:
    """Returns the positions of one of the equal parts of a step's batch; steps and parts from 0.

    The parts pass through the net separately: part a * ranks + r is what rank r takes as its a-th.
    Two ranks and one rank that accumulates two parts therefore see the same parts.
    """
    size = batch_size // parts
    start = step * batch_size + part * size
    return range(start, start + size)


def epoch_ends(step: int, batch_size: int, images: int) -> bool:
    """Returns whether a step takes the last sample of an epoch."""
    return (step + 1) * batch_size // images > step * batch_size // images


def accumulation(spec: Spec, batch_size: int, ranks: int, micro_batch: int | None) -> int:
    """Returns how many parts each rank accumulates for one step.

    Args:
        spec: the net.
        batch_size: images of one optimizer step over all ranks.
        ranks: how many processes share it.
        micro_batch: the most images a rank may pass through the net at once, None for no limit.

    Raises:
        BatchingError: the batch cannot be split into equal parts of that size, or a part would
            leave some batch norm with a single number a channel, which has no variance.
    """
    if batch_size % ranks:
        raise BatchingError(
            f"a batch of {batch_size} images cannot be shared equally by {ranks} processes; "
            "change it with --set batch_size=..."
        )
    share = batch_size // ranks
    size = share if micro_batch is None else min(micro_batch, share)
    if size < 1 or share % size:
        raise BatchingError(
            f"--micro-batch is {micro_batch}, expected a divisor of {share}, the images that each "
            f"of {ranks} processes has of a batch of {batch_size}"
        )
    for layer in layers(spec):
        if layer.op == "batch_norm" and size * math.prod(layer.output_shape[1:]) == 1:
            raise BatchingError(
                f"one image at a time leaves {layer.key} of {spec.name} with one number a channel, "
                "which has no variance to normalise by: take a larger batch or --micro-batch"
            )
    return share // size


@lru_cache(maxsize=2)
def _order(epoch: int, images: int, seed: int) -> npt.NDArray[np.int64]:
    return np.argsort(uniform((images,), seed, epoch, "order"), kind="stable")
