"""The values that both twins give and take."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]
T = TypeVar("T")


class NativeFileError(ValueError):
    """A file of a framework's own format that cannot be read. The message is one line."""


class Group(NamedTuple, Generic[T]):
    """The processes that train together: this one's rank, how many there are, its device."""

    rank: int
    size: int
    device: T


class Tensors(NamedTuple, Generic[T]):
    """A batch on the device: what :class:`tinynet.data.loader.TrainingBatch` holds."""

    images: T
    labels: T
    dropout: T | None
    drop_path: T | None


class Activation(NamedTuple):
    """What one named layer was given and what it returned."""

    input: Array
    output: Array


class Flow(NamedTuple):
    """What one named layer was given and returned in training, and d loss / d what it returned."""

    input: Array
    output: Array
    gradient: Array


class Backward(NamedTuple):
    """One layer's gradients: for its input, and for its own parameters by canonical key."""

    input: Array
    parameters: Arrays


class Gradients(NamedTuple):
    """One training step: its loss, its gradients, and the batch-norm statistics after it.

    ``parameters`` has every trained tensor by canonical key, ``statistics`` every running mean
    and variance.
    """

    loss: float
    input: Array
    parameters: Arrays
    statistics: Arrays


@dataclasses.dataclass(frozen=True, slots=True)
class Native:
    """What a file of a framework's own format holds.

    ``content`` is as nested as the file and has NumPy arrays for tensors. ``metadata`` is what
    :meth:`NativeFiles.save_native` was given, empty for a file it did not write.
    """

    content: Any
    metadata: dict[str, str]

    @classmethod
    def of(cls, content: Any, metadata: Any) -> Native:
        """Takes the metadata that ``save_native`` wrote out of the content.

        What another program calls metadata stays in the content.
        """
        if not isinstance(metadata, dict):
            return cls(content, {})
        texts = cast("dict[str, Any]", metadata)
        if not all(isinstance(text, str) for text in texts.values()):
            return cls(content, {})
        return cls({key: value for key, value in content.items() if key != "metadata"}, texts)
