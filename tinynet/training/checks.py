"""What a run refuses: to resume another run, unequal processes, no place to write to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinynet.checkpoints.training_state import Progress
from tinynet.recipe import describe_difference, recipe_document
from tinynet.spec import spec_document


class TrainingError(ValueError):
    """A run that cannot start or continue. The message is one line."""


class DivergedError(TrainingError):
    """A run whose loss or net is not finite any more.

    Attributes:
        epoch: how far it was when that was seen.
    """

    def __init__(self, message: str, epoch: float):
        super().__init__(message, epoch)
        self.epoch = epoch

    def __str__(self) -> str:
        return str(self.args[0])


def check_resumed(found: Progress, asked: Progress, source: str) -> None:
    """Refuses to resume another run than the one that was interrupted.

    Args:
        found: of the checkpoint.
        asked: what the command line and the data say.
        source: what to call the checkpoint in errors.

    Raises:
        TrainingError: naming what differs.
    """
    if found.spec != asked.spec:
        raise TrainingError(
            f"{source}: trains {found.spec.name}, expected {asked.spec.name} as named and with "
            "the classes of the data"
        )
    difference = describe_difference(found.recipe, asked.recipe)
    if difference:
        raise TrainingError(f"{source}: was made with another recipe: {difference}")
    if found.images != asked.images or found.data_sha256 != asked.data_sha256:
        raise TrainingError(
            f"{source}: was made on {found.images} other images than the {asked.images} of the "
            "data named (their names or labels differ)"
        )


def check_same_start(
    progress: Progress,
    processes: int,
    total: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
) -> None:
    """Refuses to train with processes that would continue from different places.

    Args:
        progress: where this process starts.
        processes: how many there are.
        total: sums numbers over all of them.

    Raises:
        TrainingError: in at least one of the processes, where they differ.
    """
    documents = [spec_document(progress.spec), recipe_document(progress.recipe)]
    text = json.dumps([*documents, progress.seed, progress.data_sha256, progress.step])
    # Three bytes: a sum of them is exact even in the float32 of some devices.
    mark = int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "big")
    if total(np.array([mark], np.float64))[0] != processes * mark:
        raise TrainingError(
            "the processes that train together have different checkpoints, data or settings: give "
            "all of them the same command, and an --output and data that all of them share"
        )


def check_output(folder: Path) -> None:
    """Refuses a place where no folder can be written to, before anything is computed.

    Raises:
        TrainingError: naming what is in the way.
    """
    place = folder.absolute()
    while not place.exists() and not place.is_symlink():
        place = place.parent
    if not place.is_dir():
        raise TrainingError(f"--output is {folder}, but {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise TrainingError(f"--output is {folder}, but nothing can be written to {place}")
