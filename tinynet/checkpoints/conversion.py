"""Converts one checkpoint into another, and says what a file is."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from tinynet.checkpoints.files import (
    Checkpoint,
    CheckpointError,
    Names,
    read_raw,
    resolve,
    save_checkpoint,
    save_training,
)
from tinynet.checkpoints.training_state import TrainingState, progress_document
from tinynet.net.manifest import StateError
from tinynet.spec import Spec
from tinynet.utils.atomic_files import check_not_source


@dataclasses.dataclass(frozen=True, slots=True)
class Inspection:
    """What a file is. Where no spec fits, ``spec`` is None and ``problem`` says why.

    ``tensors`` and ``numbers`` count what would be converted, ``dtypes`` are their types.
    ``training`` is the progress of a training checkpoint as a JSON document, else None.
    """

    path: str
    sha256: str
    layout: str
    notes: tuple[str, ...]
    tensors: int
    numbers: int
    dtypes: tuple[str, ...]
    spec: Spec | None
    problem: str
    metadata: dict[str, str]
    training: dict[str, Any] | None


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    spec: Spec | None = None,
    names: Names | None = None,
    ema: bool = False,
    new_classifier: int | None = None,
    weights_only: bool = False,
) -> Checkpoint | TrainingState:
    """Converts a checkpoint, every tensor bit for bit, and one of a training run as a whole.

    Args:
        source: any file that :func:`tinynet.checkpoints.files.load_checkpoint` reads.
        destination: the file to write; its suffix decides the format.
        spec: the net the weights are for, where the file does not say or for a new classifier.
        names: for a ``.safetensors`` destination.
        ema: take the averaged weights only, where the source has both.
        new_classifier: seed of a new classifier for ``spec``'s classes.
        weights_only: take the raw weights only of a training checkpoint.

    Returns:
        What was written. From ``.safetensors`` to ``.safetensors`` its tensors are still in the
        source, see :class:`tinynet.checkpoints.safetensors_file.StoredTensor`.

    Raises:
        ValueError: what :mod:`tinynet.checkpoints.files` raises, a destination that is the source,
            or arguments that are for weights and a source that is converted as a whole.
        OSError: the source cannot be opened, or the destination not be written.
    """
    check_not_source(destination, source, CheckpointError)
    # From safetensors to safetensors, tensor by tensor; a framework takes the whole state at once.
    raw = read_raw(source, ema, spec, stored=str(destination).endswith(".safetensors"))
    if raw.training is None or ema or weights_only:
        checkpoint = resolve(raw, spec, new_classifier)
        save_checkpoint(destination, checkpoint, names)
        return checkpoint
    for what, asked in (
        ("--names", names is not None),
        ("--new-classifier", new_classifier is not None),
        ("another --spec than its own", spec not in (None, raw.training.progress.spec)),
    ):
        if asked:
            raise CheckpointError(
                f"{raw.path}: is a training checkpoint, {what} is for weights; take the raw ones "
                "with --weights-only or the averaged ones with --ema"
            )
    save_training(destination, raw.training)
    return raw.training


def inspect(
    path: str | os.PathLike[str], spec: Spec | None = None, ema: bool = False
) -> Inspection:
    """Says what a file is, even where it fits no spec.

    Raises:
        ValueError: not a readable checkpoint, or a damaged one.
        OSError: the file cannot be opened.
    """
    raw = read_raw(path, ema, spec, stored=True)
    arrays, notes, fitting, problem = raw.named.state.values(), raw.named.notes, None, ""
    try:
        checkpoint = resolve(raw, spec)
        notes, fitting = checkpoint.notes, checkpoint.spec
    except StateError as error:
        problem = str(error)
    if raw.training is not None and not ema:
        # It is converted as a whole, so nothing is left aside.
        arrays, notes = raw.training.tensors.values(), ()
    return Inspection(
        path=raw.path,
        sha256=raw.sha256,
        layout=raw.named.layout,
        notes=notes,
        tensors=len(arrays),
        numbers=sum(array.size for array in arrays),
        dtypes=tuple(sorted({str(array.dtype) for array in arrays})),
        spec=fitting,
        problem=problem,
        metadata=dict(sorted(raw.metadata.items())),
        training=progress_document(raw.training.progress) if raw.training else None,
    )
