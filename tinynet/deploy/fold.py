"""Deploys: turns a checkpoint of any kind into one whose batch norms are folded."""

from __future__ import annotations

import dataclasses
import os

from tinynet.checkpoints.files import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from tinynet.checkpoints.layouts import NoAveragesError
from tinynet.net.folding import FoldingError, fold_batch_norm
from tinynet.spec import Spec
from tinynet.utils.atomic_files import check_not_source


def deploy(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    spec: Spec | None = None,
    raw: bool = False,
) -> Checkpoint:
    """Folds the batch norms of a checkpoint into its convolutions.

    Args:
        source: any file that :func:`tinynet.checkpoints.files.load_checkpoint` reads.
        destination: the file to write; its suffix decides the format.
        spec: the net the weights are for, where the file does not say.
        raw: take the weights as they were trained, where the source has averaged ones too.

    Returns:
        What was written.

    Raises:
        ValueError: what :mod:`tinynet.checkpoints.files` raises, a destination that is the source,
            or a source that is folded already.
        OSError: the source cannot be opened, or the destination not be written.
    """
    check_not_source(destination, source, CheckpointError)
    try:
        found = load_checkpoint(source, spec, ema=not raw)
    except NoAveragesError:  # a file of weights has one set only
        found = load_checkpoint(source, spec)
    try:
        folded_spec, state = fold_batch_norm(found.spec, found.state)
    except FoldingError as error:
        raise FoldingError(f"{source}: {error}") from None
    folded = dataclasses.replace(found, spec=folded_spec, state=state)
    save_checkpoint(destination, folded)
    return folded
