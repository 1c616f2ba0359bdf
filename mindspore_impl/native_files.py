"""MindSpore's own files, .ckpt: NumPy in and out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mindspore as ms

from tinynet.backend.values import Native, NativeFileError
from tinynet.checkpoints.training_state import (
    EMA_PREFIX,
    OPTIMIZER_PREFIX,
    TrainingState,
    pack_training,
)
from tinynet.net.manifest import State, canonical_key, check_state, mindspore_keys
from tinynet.recipe import OPTIMIZER_SLOTS
from tinynet.spec import Spec
from tinynet.utils.atomic_files import write_atomically

# How a tensor's name begins in a training checkpoint -> how it does in the canonical file.
_GROUPS = {EMA_PREFIX: EMA_PREFIX} | {
    f"{slot}.": f"{OPTIMIZER_PREFIX}{slot}." for slots in OPTIMIZER_SLOTS.values() for slot in slots
}
# What MindSpore appends with crc_check=True: this word and ten bytes, big-endian.
_CRC_MARK = b"crc_num"
_CRC_BYTES = 10


def load_native(path: str | os.PathLike[str]) -> Native:
    """Reads a ``.ckpt`` file; its checksum is verified where it has one.

    Raises:
        NativeFileError: damaged, or not such a file, or larger than the memory that is left.
        OSError: the file cannot be opened.
    """
    _check_crc(Path(path).read_bytes(), path)
    try:
        with _without_logs():
            content = ms.load_checkpoint(str(path))
    except Exception as error:  # a damaged message can raise anything
        if any(isinstance(cause, MemoryError) for cause in _causes(error)):
            raise NativeFileError(f"{path}: cannot be read, the memory is full") from None
        raise NativeFileError(
            f"{path}: cannot be read, it is damaged or no MindSpore checkpoint"
        ) from None
    content = _with_arrays(content)
    try:
        metadata = json.loads(content["metadata"])
    except (KeyError, TypeError, json.JSONDecodeError):
        metadata = None
    return Native.of(content, metadata)


def save_native(
    path: str | os.PathLike[str], state: Mapping[str, Any], spec: Spec, metadata: dict[str, str]
) -> None:
    """Writes a state under MindSpore's names, with the metadata as one JSON string beside them.

    Raises:
        StateError: the state does not fit the spec exactly.
        DocumentError: the file cannot be placed there.
    """
    checked = check_state(state, spec, "state")
    _save(path, {name: checked[key] for key, name in mindspore_keys(spec).items()}, metadata)


def training_tensors(content: Mapping[str, Any]) -> State:
    """Names the tensors of a file of :func:`save_training` as its canonical file does."""
    tensors: State = {}
    for name, value in content.items():
        group = name.partition(".")[0] + "."
        key = canonical_key(name.removeprefix(group) if group in _GROUPS else name)
        tensors[_GROUPS.get(group, "") + key] = value
    return tensors


def save_training(path: str | os.PathLike[str], state: TrainingState) -> None:
    """Writes a training state under MindSpore's names: of a weight; of the same after ``ema.``;
    and after ``mean_square.`` or ``momentum.``, which is what the optimizers of
    :mod:`mindspore_impl.optim` call theirs.

    Raises:
        ValueError: what :func:`tinynet.checkpoints.training_state.pack_training` raises.
        DocumentError: the file cannot be placed there.
    """
    packed = pack_training(state)
    names = mindspore_keys(state.progress.spec)
    groups = {"": state.weights, EMA_PREFIX: state.ema or {}}
    groups |= {f"{slot}.": arrays for slot, arrays in state.slots.items()}
    tensors = {
        prefix + names[key]: array
        for prefix, arrays in groups.items()
        for key, array in arrays.items()
    }
    _save(path, tensors, packed.metadata)


def _save(path: str | os.PathLike[str], tensors: State, metadata: dict[str, str]) -> None:
    parameters = [{"name": name, "data": ms.Tensor(array)} for name, array in tensors.items()]
    strings = {"metadata": json.dumps(metadata)}
    write_atomically(
        path,
        lambda temporary: ms.save_checkpoint(
            parameters, str(temporary), append_dict=strings, crc_check=True
        ),
    )


def _check_crc(data: bytes, path: str | os.PathLike[str]) -> None:
    end = len(data) - len(_CRC_MARK) - _CRC_BYTES
    if end < 0 or data[end : end + len(_CRC_MARK)] != _CRC_MARK:
        return  # written without, as MindSpore does by default
    if zlib.crc32(memoryview(data)[:end]) != int.from_bytes(data[-_CRC_BYTES:], "big"):
        raise NativeFileError(f"{path}: is damaged, its content does not match its checksum")


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    # MindSpore logs the errors it raises; a user shall see one line, ours.
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(previous)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    # MindSpore raises a ValueError from whatever happened, twice.
    while error is not None:
        yield error
        error = error.__cause__


def _with_arrays(content: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.asnumpy() if isinstance(v, ms.Tensor) else v for k, v in content.items()}
