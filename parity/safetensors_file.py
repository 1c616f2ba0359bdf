"""The safetensors format as bytes: tensors and metadata of one file, read and written once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import BinaryIO, cast

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
        raise SafetensorsFileError(f"{source}: holds {error.args[0]}, expected float32") from None
    # The reader has found this header valid, but does not hand out the metadata of bytes.
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES:start])
    return tensors, header.get("__metadata__", {})


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
