"""What a twin's modules offer. The contents of a module are documented once, here."""

# pyright: reportReturnType=false
# The body of a protocol's method is its docstring.

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinynet.backend.values import Array, Group, Native

if TYPE_CHECKING:
    from tinynet.checkpoints.training_state import TrainingState
    from tinynet.net.manifest import State
    from tinynet.spec import Spec
    from tinynet.training.step import StepBase

# A net of a framework. Only its twin looks inside.
Net: TypeAlias = Any


class Report(Protocol):
    """What a step returns, still on the device: two numbers."""

    def tolist(self) -> list[float]: ...


class Predictor(Protocol):
    """A net ready to answer, in evaluation mode. Its batch norms are folded."""

    net: Net

    def write(self, state: State) -> None:
        """Answers with another state of the same spec from now on.

        Raises:
            StateError: the state does not fit the spec, or what is folded overflows float32.
        """

    def __call__(self, images: Array, /) -> Array:
        """Returns logits: (N, C, H, W) normalised pixels to (N, num_classes), both float32."""


class Model(Protocol):
    """Nets, and states in and out of them."""

    @property
    def TinyNet(self) -> Any: ...
    @property
    def ResNet(self) -> Any: ...

    def make_net(self, spec: Spec, state: State | None = None) -> Net:
        """Builds a net of the family of its spec, by default with ``initial_state(spec, seed=0)``.

        Raises:
            StateError: the state does not fit the spec.
        """

    def read_state(self, net: Net) -> State:
        """Copies the state out of a net: canonical key -> array, in manifest order.

        The arrays have the net's own precision, float32 but for a reference in float64.
        """

    def write_state(self, net: Net, state: Mapping[str, Any]) -> None:
        """Sets every tensor of a net, bit for bit, or none of them.

        Raises:
            StateError: the state does not fit the net's spec exactly.
        """


class Step(Protocol):
    """One optimizer step, and everything that it changes."""

    @property
    def PRECISIONS(self) -> tuple[str, ...]: ...
    @property
    def COMPILED(self) -> bool:
        """Whether compiling pays by default."""

    def TrainStep(
        self,
        state: TrainingState,
        group: Group[Any],
        accumulation: int = 1,
        precision: str = ...,
        compiled: bool = ...,
    ) -> StepBase[Any]:
        """Makes the step of a run.

        Args:
            state: where the run is.
            group: the processes that train together, and the device.
            accumulation: parts of a batch that pass through the net one after the other.
            precision: one of ``PRECISIONS``.
            compiled: compile the step before it runs first (torch.compile, graph mode).

        Raises:
            StateError: the state does not fit its spec.
            ValueError: a precision that is none, or that the device has not.
        """


class Distributed(Protocol):
    """Training by several processes."""

    def join(self, device: str) -> Group[Any]:
        """Joins the processes that the launcher started, or stays alone without one.

        The device is one of the ``DEVICES`` of predict; a ValueError says that it is not here.
        """

    def leave(self) -> None:
        """Leaves the group; without one nothing happens."""

    def total(self, numbers: NDArray[np.float64], group: Group[Any]) -> NDArray[np.float64]:
        """Sums float64 numbers (N,) over all processes."""


class Predict(Protocol):
    """Inference: NumPy pixels in, NumPy logits out."""

    @property
    def DEVICES(self) -> tuple[str, ...]: ...
    @property
    def MODES(self) -> tuple[str, ...]:
        """The ways in which the twin runs; the first compiles nothing, the last is fastest."""

    def running(self, mode: str) -> AbstractContextManager[None]:
        """Runs what is inside in one of ``MODES``; another one is a ValueError."""

    def Predictor(self, spec: Spec, state: State, device: str = ..., mode: str = ...) -> Predictor:
        """Makes a net that answers.

        Args:
            spec: the net.
            state: canonical state.
            device: one of ``DEVICES``, by default the CPU.
            mode: one of ``MODES``, by default the fastest.

        Raises:
            StateError: the state does not fit the spec, or what is folded overflows float32.
            ValueError: no such device here.
        """

    def set_device(self, device: str) -> None:
        """Chooses this process's device, on which float32 is float32 from now on.

        It is one of ``DEVICES``; a ValueError says that it is not here.
        """


class Export(Protocol):
    """ONNX from the framework's own exporter."""

    def export_onnx(self, spec: Spec, state: State, path: str | os.PathLike[str]) -> None:
        """Writes an ONNX file with input "pixels" and output "logits" and a free batch size."""


class NativeFiles(Protocol):
    """Files of the framework's own format."""

    def load_native(self, path: str | os.PathLike[str]) -> Native:
        """Reads a file; no code from it is ever run, and its checksum is verified if it has one.

        Raises:
            NativeFileError: damaged, not such a file, or with more than tensors and plain values.
            OSError: the file cannot be opened.
        """

    def save_native(
        self,
        path: str | os.PathLike[str],
        state: Mapping[str, Any],
        spec: Spec,
        metadata: dict[str, str],
    ) -> None:
        """Writes a state under the framework's names, and the metadata.

        Raises:
            StateError: the state does not fit the spec exactly.
            DocumentError: the file cannot be placed there.
        """

    def training_tensors(self, content: Mapping[str, Any]) -> State:
        """Names the tensors of a file of :meth:`save_training` as its canonical file does."""

    def save_training(self, path: str | os.PathLike[str], state: TrainingState) -> None:
        """Writes a training state under the framework's names.

        Raises:
            ValueError: what :func:`tinynet.checkpoints.training_state.pack_training` raises.
            DocumentError: the file cannot be placed there.
        """


class Tuning(Protocol):
    """What makes the twin fast beside its mathematics."""

    def tune_process(self) -> None:
        """Sets this process up as the framework computes fastest, unless the user has."""
