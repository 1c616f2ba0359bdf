"""The conversion job: one file of weights into another, and what a file is."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tinynet.manifest import StateError
from tinynet.spec import Spec

from parity.checkpoint import (
    Checkpoint,
    CheckpointError,
    Names,
    load_checkpoint,
    read_raw,
    resolve,
    save_checkpoint,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Inspection:
    """What a file of weights is. ``spec`` is None, and ``problem`` says why, where none fits.

    ``tensors`` and ``numbers`` count what would be converted, ``dtypes`` their types.
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


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    spec: Spec | None = None,
    names: Names | None = None,
    ema: bool = False,
    new_classifier: int | None = None,
) -> Checkpoint:
    """Converts a file of weights, every tensor bit for bit.

    Args:
        source: the file to read; :func:`parity.checkpoint.load_checkpoint` says which.
        destination: the file to write; :func:`parity.checkpoint.save_checkpoint` says which.
        spec: the net the weights are for, where the file does not say or for a new classifier.
        names: for a ``.safetensors`` destination.
        ema: take the averaged weights, where the source has both.
        new_classifier: seed of a classifier drawn anew for ``spec``'s classes.

    Returns:
        What was written.

    Raises:
        ValueError: what :mod:`parity.checkpoint` raises, or a destination that is the source.
        OSError: the source cannot be opened, or the destination not be written.
    """
    if Path(destination).exists() and Path(destination).samefile(source):
        raise CheckpointError(f"{destination}: is the source itself, name another file to write")
    checkpoint = load_checkpoint(source, spec, ema, new_classifier)
    save_checkpoint(destination, checkpoint, names)
    return checkpoint


def inspect(
    path: str | os.PathLike[str], spec: Spec | None = None, ema: bool = False
) -> Inspection:
    """Says what a file of weights is, also where it fits no spec.

    Raises:
        ValueError: not a readable file of weights, or a damaged one.
        OSError: the file cannot be opened.
    """
    raw = read_raw(path, ema, spec)
    notes, fitting, problem = raw.named.notes, None, ""
    try:
        checkpoint = resolve(raw, spec)
        notes, fitting = checkpoint.notes, checkpoint.spec
    except StateError as error:
        problem = str(error)
    arrays = raw.named.state.values()
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
    )
