"""Safetensors files: read by the library, written here."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError, safe_open

from tinynet.net.manifest import State
from tinynet.utils.atomic_files import write_atomically

# Source: the format's README: the header's length as 8 bytes little-endian, the header as JSON,
# then all tensors without gaps. Padding the header to 8 bytes aligns them.
_LENGTH_BYTES = 8
_DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}

_open: Any = safe_open  # comes without types


class SafetensorsFileError(ValueError):
    """A safetensors file that cannot be read. The message is one line."""


class StoredTensor:
    """A float32 tensor that stays in its file and is read whenever NumPy asks for its numbers.

    It has the attributes that describe an array; ``np.asarray(tensor)`` is an array.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, file: Any, name: str, path: str):
        self._file, self._name, self._path = file, name, path
        self.shape: tuple[int, ...] = tuple(file.get_slice(name).get_shape())
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray[Any]:
        """Reads the numbers.

        Raises:
            SafetensorsFileError: the file became shorter since it was opened.
        """
        try:
            return self._file.get_tensor(self._name).astype(dtype or self.dtype, copy=False)
        except SafetensorError as error:
            raise _unreadable(self._path, error) from None


def open_safetensors(path: str | os.PathLike[str]) -> tuple[State, dict[str, str]]:
    """Opens a file as :func:`read_safetensors` does, but float32 tensors stay in the file.

    Each is a :class:`StoredTensor`, so that checking shapes and copying take the memory of one
    tensor. The file stays open for as long as one of them exists.
    """
    try:
        # Not mapped into memory, where all that was ever read would stay.
        file = _open(path, "numpy", backend="pread")
        names: list[str] = file.keys()
        # To the type checker they are arrays, since they can be used as such.
        tensors = {
            name: cast("NDArray[Any]", StoredTensor(file, name, str(path)))
            if file.get_slice(name).get_dtype() == "F32"
            else _tensor(file, name, str(path))
            for name in names
        }
        return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise _unreadable(path, error) from None


def read_safetensors(path: str | os.PathLike[str]) -> tuple[State, dict[str, str]]:
    """Returns the tensors and the metadata of a file.

    Raises:
        SafetensorsFileError: damaged, or with tensors of a type that NumPy does not have.
        OSError: the file cannot be opened.
    """
    try:
        with _open(path, "numpy") as file:
            names: list[str] = file.keys()
            tensors = {name: _tensor(file, name, str(path)) for name in names}
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise _unreadable(path, error) from None


def save_safetensors(
    path: str | os.PathLike[str], tensors: State, metadata: Mapping[str, str]
) -> None:
    """Writes a file atomically, as :func:`write_safetensors` writes it.

    Raises:
        DocumentError: the file cannot be placed there.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            write_safetensors(file, tensors, metadata)

    write_atomically(path, write)


def write_safetensors(file: BinaryIO, tensors: State, metadata: Mapping[str, str]) -> None:
    """Writes tensors in the order given: the same input gives the same bytes.

    The library's own writer orders the metadata differently in every process.

    Args:
        file: where to.
        tensors: name -> float32, float64 or int64 array; each is read once, in turn.
        metadata: what goes with them.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
    for array in tensors.values():
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)


def _tensor(file: Any, name: str, path: str) -> NDArray[Any]:
    try:
        return file.get_tensor(name)
    except (TypeError, AttributeError):
        # What the library says of bfloat16 and the 8-bit floats.
        dtype = file.get_slice(name).get_dtype()
        raise SafetensorsFileError(f"{path}: {name} is {dtype}, expected F32") from None


def _unreadable(path: str | os.PathLike[str], error: SafetensorError) -> SafetensorsFileError:
    return SafetensorsFileError(
        f"{path}: cannot be read, it is damaged or no safetensors file ({error})"
    )
