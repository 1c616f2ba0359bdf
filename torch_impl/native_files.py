"""PyTorch's own files, .pth and .pt: NumPy in and out."""

from __future__ import annotations

import argparse
import io
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinynet.backend.values import Native, NativeFileError
from tinynet.checkpoints.training_state import (
    EMA_PREFIX,
    OPTIMIZER_PREFIX,
    TrainingState,
    pack_training,
)
from tinynet.net.manifest import State, check_state
from tinynet.spec import Spec
from tinynet.utils.atomic_files import write_atomically

# Where a training checkpoint has its tensors -> how their names begin in the canonical file.
_GROUPS = {"state_dict": "", "state_dict_ema": EMA_PREFIX, "optimizer": OPTIMIZER_PREFIX}


def load_native(path: str | os.PathLike[str]) -> Native:
    """Reads a ``.pth`` or ``.pt`` file. No code from the file is ever run.

    Raises:
        NativeFileError: damaged, not such a file, or in need of more than tensors and plain values.
        OSError: the file cannot be opened.
    """
    data = Path(path).read_bytes()
    if data.startswith(b"PK"):
        _check_records(data, path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            # timm keeps its command line, a Namespace of plain values, in training checkpoints.
            warnings.simplefilter("ignore")
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise NativeFileError(f"{path}: {_problem(error)}") from None
    content = _with_arrays(content, f"{path}: ")
    return Native.of(content, content.get("metadata") if isinstance(content, dict) else None)


def save_native(
    path: str | os.PathLike[str], state: Mapping[str, Any], spec: Spec, metadata: dict[str, str]
) -> None:
    """Writes a state as ``{"state_dict": ..., "metadata": ...}``, which timm loads as it is.

    Raises:
        StateError: the state does not fit the spec exactly.
        DocumentError: the file cannot be placed there.
    """
    checked = check_state(state, spec, "state")
    tensors = {key: torch.tensor(array) for key, array in checked.items()}
    content = {"state_dict": tensors, "metadata": metadata}
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def training_tensors(content: Mapping[str, Any]) -> State:
    """Names the tensors of a file of :func:`save_training` as its canonical file does."""
    tensors: State = {}
    for group, entries in content.items():
        # What belongs to no group keeps its name, and is an error where they are checked.
        _flatten(entries, _GROUPS.get(group, group), tensors)
    return tensors


def save_training(path: str | os.PathLike[str], state: TrainingState) -> None:
    """Writes a training state as ``{"state_dict": ..., "state_dict_ema": ..., "optimizer":
    {slot: ...}, "metadata": ...}``, of which timm loads the weights.

    Raises:
        ValueError: what :func:`tinynet.checkpoints.training_state.pack_training` raises.
        DocumentError: the file cannot be placed there.
    """
    packed = pack_training(state)
    groups = {
        "state_dict": state.weights,
        "state_dict_ema": state.ema,
        "optimizer": state.slots,
        "metadata": packed.metadata,
    }
    content = {name: _with_tensors(group) for name, group in groups.items() if group is not None}
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def _problem(error: Exception) -> str:
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted:
        return (
            f"refused, since its pickle asks to run {wanted[1]}; "
            "save only the state_dict where it comes from"
        )
    if "Unsupported operand" in str(error):
        # Every pickle protocol above 2, torch.save's own.
        return "refused, since its pickle is not of the kind torch.save writes by default"
    return "cannot be read, it is damaged or no PyTorch checkpoint"


def _check_records(data: bytes, path: str | os.PathLike[str]) -> None:
    # A .pth is a zip file with a checksum for each record, which torch.load does not look at.
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise NativeFileError(f"{path}: is truncated or damaged ({error})") from None
    if damaged is not None:
        raise NativeFileError(f"{path}: is damaged, {damaged} does not match its checksum")


def _with_arrays(value: Any, place: str) -> Any:
    if isinstance(value, torch.Tensor):
        try:
            return value.detach().contiguous().numpy()
        except (TypeError, RuntimeError):
            # bfloat16, quantised, sparse: NumPy has no such arrays
            raise NativeFileError(f"{place} is {value.dtype}, expected float32") from None
    if isinstance(value, Mapping):
        separator = "" if place.endswith(" ") else "."
        return {k: _with_arrays(v, f"{place}{separator}{k}") for k, v in value.items()}
    return value


def _with_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.tensor(value)
    if isinstance(value, Mapping):
        return {key: _with_tensors(item) for key, item in value.items()}
    return value


def _flatten(value: Any, prefix: str, tensors: dict[str, Any]) -> None:
    if not isinstance(value, Mapping):
        tensors[prefix] = value
        return
    separator = "." if prefix and not prefix.endswith(".") else ""
    for key, item in value.items():
        _flatten(item, f"{prefix}{separator}{key}", tensors)
