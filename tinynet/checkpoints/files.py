"""Reads and writes checkpoints of weights and of training runs, whichever format.

``.safetensors`` needs no framework; ``.pth``/``.pt`` and ``.ckpt`` are read and written by the
``native_files`` of their framework's twin.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from tinynet.backend import load_backend
from tinynet.checkpoints.layouts import Named, NoAveragesError, to_canonical, to_mindspore
from tinynet.checkpoints.metadata import CONTENT_SHA256, TRAINING_SHA256, content_sha256, describe
from tinynet.checkpoints.safetensors_file import (
    open_safetensors,
    read_safetensors,
    save_safetensors,
)
from tinynet.checkpoints.spec_inference import infer_spec
from tinynet.checkpoints.training_state import (
    TrainingState,
    is_training,
    save_training_state,
    unpack_training,
)
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import (
    State,
    StateError,
    check_state,
    classifier_keys,
    drop_classifier,
)
from tinynet.spec import Spec, parse_spec

Names = Literal["canonical", "mindspore"]

# Suffix -> the twin that reads and writes it, None where none is needed.
FORMATS: dict[str, str | None] = {
    ".safetensors": None,
    ".pth": "torch",
    ".pt": "torch",
    ".pth.tar": "torch",  # timm's name for its training checkpoints, no tar file
    ".ckpt": "mindspore",
}

TRAINING_LAYOUT = "training checkpoint"

# Metadata that describe only the file they are in (MindSpore's checksum is over its own names), and
# what only a training checkpoint has.
_FILE_METADATA = {"format", "crc_num", "remove_redundancy"}
_TRAINING_METADATA = {"recipe", "training", TRAINING_SHA256}


class CheckpointError(ValueError):
    """A file that is not the checkpoint it should be. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state that fits its spec, and where it came from.

    ``source`` and ``source_sha256`` name the file it was read from, without its folder, and are
    empty for a state that was not. ``metadata`` is what else travels in the file. ``layout`` and
    ``notes`` tell a person how the file named its tensors and what was left aside.
    """

    state: State
    spec: Spec
    source: str = ""
    source_sha256: str = ""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    layout: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class RawCheckpoint:
    """A file's arrays under canonical keys, and its metadata, not yet checked against a spec.

    ``training`` is the whole state of a training checkpoint, which was checked against its own.
    """

    path: str
    sha256: str
    named: Named
    metadata: dict[str, str]
    training: TrainingState | None = None


def load_checkpoint(
    path: str | os.PathLike[str],
    spec: Spec | None = None,
    ema: bool = False,
    new_classifier: int | None = None,
) -> Checkpoint:
    """Reads a file of weights and accounts for every tensor of it.

    Of a training checkpoint the raw weights are taken, after all of it has been verified.

    Args:
        path: ``.safetensors``, ``.pth``, ``.pt`` or ``.ckpt``.
        spec: the net it is for; by default what the file says, or else the shipped spec that its
            shapes fit.
        ema: take the averaged weights, where the file has both.
        new_classifier: seed of a new classifier for ``spec``'s classes, which replaces the file's.

    Raises:
        CheckpointError: another suffix, damaged, or a ``spec`` that contradicts the file's.
        StateError: the tensors do not fit the spec.
        ValueError: what the format's reader and :func:`tinynet.checkpoints.layouts.to_canonical`
            raise.
        OSError: the file cannot be opened.
    """
    return resolve(read_raw(path, ema, spec), spec, new_classifier)


def save_checkpoint(
    path: str | os.PathLike[str], checkpoint: Checkpoint, names: Names | None = None
) -> None:
    """Writes a checkpoint; equal checkpoints give equal bytes, and a failure leaves nothing.

    Args:
        path: where to; the suffix decides the format.
        checkpoint: what to write; the spec and its provenance travel in the file.
        names: MindSpore's or the canonical ones in a ``.safetensors``; a ``.ckpt`` always has
            MindSpore's, a ``.pth`` the canonical ones.

    Raises:
        CheckpointError: another suffix, or names that the format does not have.
        StateError: the state does not fit the spec.
        DocumentError: the file cannot be placed there.
    """
    twin = _format(path)
    usual: Names = "mindspore" if twin == "mindspore" else "canonical"
    names = usual if names is None else names
    if twin is not None and names != usual:
        raise CheckpointError(f"{path}: this format has {usual} names only")
    spec = checkpoint.spec
    state = check_state(checkpoint.state, spec, checkpoint.source or "state")
    metadata = checkpoint.metadata | describe(spec, checkpoint.source, checkpoint.source_sha256)
    if twin is None:
        metadata["format"] = "ms" if names == "mindspore" else "pt"
    metadata[CONTENT_SHA256] = content_sha256(state, metadata)
    if twin is not None:
        load_backend(twin).native_files.save_native(path, state, spec, metadata)
        return
    save_safetensors(path, to_mindspore(state, spec) if names == "mindspore" else state, metadata)


def load_training(path: str | os.PathLike[str]) -> TrainingState:
    """Reads a training checkpoint, whichever format, and accounts for every tensor of it.

    Raises:
        CheckpointError: another suffix.
        ValueError: what the format's reader and
            :func:`tinynet.checkpoints.training_state.unpack_training` raise.
        OSError: the file cannot be opened.
    """
    return unpack_training(*_read(path), str(path))


def save_training(path: str | os.PathLike[str], state: TrainingState) -> None:
    """Writes a training checkpoint; the suffix of ``path`` decides the format.

    Raises:
        CheckpointError: another suffix.
        ValueError: what :func:`tinynet.checkpoints.training_state.pack_training` raises.
        DocumentError: the file cannot be placed there.
    """
    twin = _format(path)
    save = save_training_state if twin is None else load_backend(twin).native_files.save_training
    save(path, state)


def read_raw(
    path: str | os.PathLike[str], ema: bool = False, spec: Spec | None = None, stored: bool = False
) -> RawCheckpoint:
    """Does the first half of :func:`load_checkpoint`: everything that needs no spec.

    Args:
        path: as there.
        ema: as there.
        spec: as there.
        stored: leave the tensors of a ``.safetensors`` in the file, as
            :func:`tinynet.checkpoints.safetensors_file.open_safetensors` does.

    Raises:
        ValueError: what :func:`load_checkpoint` raises but for tensors that do not fit a spec.
        OSError: the file cannot be opened.
    """
    _format(path)
    with Path(path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    content, metadata = _read(path, stored)
    if is_training(metadata):
        training = unpack_training(content, metadata, str(path))
        named = _weights(training, ema, str(path))
        return RawCheckpoint(str(path), sha256, named, metadata, training)
    named = to_canonical(content, str(path), ema, spec)
    return RawCheckpoint(str(path), sha256, named, metadata)


def resolve(
    raw: RawCheckpoint, spec: Spec | None = None, new_classifier: int | None = None
) -> Checkpoint:
    """Does the second half of :func:`load_checkpoint`: finds the spec and checks the tensors.

    Raises:
        CheckpointError: damaged, or a ``spec`` that contradicts the file's.
        StateError: the tensors do not fit the spec.
    """
    notes = list(raw.named.notes)
    own = _own_spec(raw)
    if spec is None:
        if new_classifier is not None:
            raise CheckpointError(f"{raw.path}: a new classifier needs the spec it is for (--spec)")
        shapes = {key: array.shape for key, array in raw.named.state.items()}
        spec = infer_spec(shapes, raw.path) if own is None else own
    elif own is not None and own != spec:
        notes.append(_compare(own, spec, raw.path))
    found = _with_classes_of(raw.named.state, spec)
    if found.num_classes != spec.num_classes and new_classifier is None:
        raise StateError(
            f"{raw.path}: has {found.num_classes} classes, {spec.name} has {spec.num_classes}; "
            "--new-classifier SEED takes all but the classifier"
        )
    state = check_state(raw.named.state, found, raw.path)
    # A training checkpoint's is over its raw weights, and was verified with all the rest.
    recorded = None if raw.training else raw.metadata.get(CONTENT_SHA256)
    if recorded is not None and recorded != content_sha256(state, raw.metadata):
        raise CheckpointError(f"{raw.path}: is damaged, its content does not match its checksum")
    if new_classifier is not None:
        state = drop_classifier(state, initial_state(spec, new_classifier), spec)
        notes.append(f"new classifier for {spec.num_classes} classes, seed {new_classifier}")
    # What is written for every file; all other metadata are carried along.
    own_metadata = {*describe(spec), CONTENT_SHA256, *_FILE_METADATA}
    if raw.training:
        own_metadata |= _TRAINING_METADATA
    return Checkpoint(
        state=state,
        spec=spec,
        source=Path(raw.path).name,
        source_sha256=raw.sha256,
        metadata={key: text for key, text in raw.metadata.items() if key not in own_metadata},
        layout=raw.named.layout,
        notes=tuple(notes),
    )


def _format(path: str | os.PathLike[str]) -> str | None:
    for suffix, twin in FORMATS.items():
        if str(path).endswith(suffix):
            return twin
    raise CheckpointError(f"{path}: unknown suffix, expected one of {', '.join(FORMATS)}")


def _read(path: str | os.PathLike[str], stored: bool = False) -> tuple[Any, dict[str, str]]:
    # Content and metadata; the content of a training checkpoint as its canonical file names it.
    twin = _format(path)
    if twin is None:
        return open_safetensors(path) if stored else read_safetensors(path)
    files = load_backend(twin).native_files
    native = files.load_native(path)
    if is_training(native.metadata):
        return files.training_tensors(native.content), native.metadata
    return native.content, native.metadata


def _weights(training: TrainingState, ema: bool, path: str) -> Named:
    aside = [f"optimizer state ({', '.join(training.slots)})"]
    state = training.weights
    if training.ema is not None:
        aside.insert(0, "raw weights" if ema else "averaged weights")
        state = training.ema if ema else state
    elif ema:
        raise NoAveragesError(path)
    note = f"step {training.progress.step} of a training run; left aside: {', '.join(aside)}"
    return Named(state, TRAINING_LAYOUT, (note,))


def _own_spec(raw: RawCheckpoint) -> Spec | None:
    text = raw.metadata.get("spec")
    if text is None:
        return None
    if CONTENT_SHA256 not in raw.metadata:
        raise CheckpointError(f"{raw.path}: is damaged, it has a spec but no checksum")
    return parse_spec(text, f"{raw.path}: its spec")


def different_fields(one: Spec, other: Spec) -> list[str]:
    """Returns the names of the fields in which two specs are not the same net.

    Weights are right only in the net they were trained as. What else a spec says (name, input size,
    preprocessing, labels, classes) the user who names a spec may change.
    """
    fields = ("activation", "padding", "stem", "stages", "head")
    pairs: list[tuple[str, Any, Any]] = [(f, getattr(one, f), getattr(other, f)) for f in fields]
    if one.batch_norm is None or other.batch_norm is None:
        pairs.append(("batch_norm", one.batch_norm, other.batch_norm))
    else:
        pairs.append(("batch_norm.eps", one.batch_norm.eps, other.batch_norm.eps))
    pairs.append(("input_size[0]", one.input_size[0], other.input_size[0]))
    return [name for name, theirs, ours in pairs if theirs != ours]


def _compare(own: Spec, spec: Spec, path: str) -> str:
    different = different_fields(own, spec)
    if different:
        raise CheckpointError(
            f"{path}: was made for {own.name}, which differs from {spec.name} in "
            f"{', '.join(different)}"
        )
    return f"the file's own spec, {own.name}, gives way to the one named, {spec.name}"


def _with_classes_of(state: State, spec: Spec) -> Spec:
    bias = state.get(classifier_keys(spec)[1])
    if bias is None or bias.shape == (spec.num_classes,) or bias.ndim != 1 or not bias.size:
        return spec
    return spec.with_classes(bias.shape[0])
