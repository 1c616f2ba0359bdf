"""The safetensors format as bytes: tensors and metadata of one file, read and written once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import safetensors.numpy
from safetensors import SafetensorError

from tinynet.manifest import State

# Source: the format's README: the header's length as 8 bytes little-endian, the header as JSON,
# then all tensors without gaps. Padding the header to 8 bytes aligns them.
_LENGTH_BYTES = 8


class SafetensorsFileError(ValueError):
    """A safetensors file that cannot be read. The message is one line."""


def parse_safetensors(data: bytes, source: str) -> tuple[State, dict[str, str]]:
    """Tensors and metadata of a file's bytes.

    Raises:
        SafetensorsFileError: damaged, or with tensors of a type that NumPy has not.
    """
    try:
        tensors = cast(State, safetensors.numpy.load(data))  # pyright: ignore[reportUnknownMemberType]
    except SafetensorError as error:
        raise SafetensorsFileError(
            f"{source}: cannot be read, it is damaged or no safetensors file ({error})"
        ) from None
    except KeyError as error:
        # bfloat16 and the 8-bit floats: NumPy has no such types.
        dtype = error.args[0]
        name = next(k for k, v in _header(data).items() if v.get("dtype") == dtype)
        raise SafetensorsFileError(f"{source}: {name} is {dtype}, expected F32") from None
    return tensors, _header(data).get("__metadata__", {})


def write_safetensors(file: BinaryIO, tensors: State, metadata: Mapping[str, str]) -> None:
    """Writes float32 tensors in the order given: the same input, the same bytes.

    The library's own writer orders the metadata anew in every process.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
    for array in tensors.values():
        file.write(array.astype("<f4", copy=False).tobytes())


def _header(data: bytes) -> dict[str, Any]:
    # Read again here: the library checks the header of bytes, but hands out no metadata.
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    return json.loads(data[_LENGTH_BYTES:start])
