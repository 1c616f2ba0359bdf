"""What a proof of parity, and an audit of single operators, ask of a twin: NumPy in, NumPy out."""

# pyright: reportReturnType=false
# The body of a protocol's method is its docstring.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from tinynet.backend.protocols import Net
from tinynet.backend.values import Activation, Array, Arrays, Backward, Flow, Gradients

if TYPE_CHECKING:
    from tinynet.checkpoints.training_state import TrainingState
    from tinynet.data.loader import TrainingBatch
    from tinynet.net.manifest import State
    from tinynet.recipe import Optimizer
    from tinynet.spec import Preprocessing, Spec

# A layer or a tensor of a framework. Only its twin looks inside.
Layer: TypeAlias = Any
Tensor: TypeAlias = Any


class Operators(Protocol):
    """Single operators of a twin for an audit: NumPy in, NumPy out.

    Everywhere ``device`` is one of the ``DEVICES`` of predict, by default the first.
    """

    def dense(self, in_features: int, out_features: int) -> Layer:
        """Builds a layer like the classifier: (N, in_features) to (N, out_features)."""

    def means_as_gates(self, channels: int) -> Layer:
        """Builds a squeeze-excite that scales each channel by its own mean: no layer is between."""

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Takes the logarithms of probabilities as the loss does: (N, K) to (N, K)."""

    def dropout(self, x: Tensor, factors: Tensor) -> Tensor:
        """Applies dropout as the net does: (N, C) times (N, C)."""

    def residual_sum(self, x: Tensor, y: Tensor) -> Tensor:
        """Joins a block's input and its branch as the block does."""

    def run_layer(
        self,
        layer: Layer,
        state: Mapping[str, Array],
        x: Array,
        upstream: Array,
        training: bool = False,
        device: str = ...,
    ) -> Arrays:
        """Runs a layer, which is changed, forward and back.

        Returns "y", the gradients "dx" and "d" + key of every trained parameter, and in training
        every statistic after the run by its key. ``state`` is by canonical keys within the layer;
        ``upstream`` is the gradient of "y".
        """

    def run_function(
        self,
        function: Callable[..., Tensor],
        arrays: Mapping[str, Array],
        upstream: Array,
        device: str = ...,
    ) -> Arrays:
        """Runs a function of tensors, in their order, forward and back.

        Returns "y", and the gradients "d" + name of the arrays that are not integers.
        """

    def run_optimizer(
        self,
        settings: Optimizer,
        parameters: Sequence[Array],
        slots: Mapping[str, Sequence[Array]],
        gradients: Sequence[Sequence[Array]],
        learning_rate: float,
        device: str = ...,
    ) -> dict[str, list[Array]]:
        """Takes steps with the twin's own optimizer; weight decay applies to all parameters.

        Returns "parameter" and every slot -> arrays after the last step, in the parameters' order.
        ``slots`` are where to start, usual where not given, ``gradients`` those of each step.
        """

    def run_stock_optimizer(
        self,
        settings: Optimizer,
        parameters: Sequence[Array],
        gradients: Sequence[Sequence[Array]],
        learning_rate: float,
        device: str = ...,
    ) -> list[Array]:
        """Runs the framework's own optimizer, without weight decay, as :meth:`run_optimizer` does.

        Returns the parameters after the last step.
        """

    def run_average(
        self,
        averages: Sequence[Array],
        tensors: Sequence[Array],
        share: float,
        device: str = ...,
    ) -> list[Array]:
        """Moves averages a share of the way to tensors, with the twin's own average."""


class Probe(Protocol):
    """What a proof of parity asks of a twin: NumPy in, NumPy out.

    Everywhere ``net`` is from :meth:`build`, ``images`` are (N, C, H, W), ``labels`` (N,) integers,
    ``label_smoothing`` is from 0 to 1, ``mode`` is one of the ``MODES`` of predict and ``device``
    one of its ``DEVICES``, by default the first.
    """

    @property
    def PRECISIONS(self) -> tuple[str, ...]: ...
    @property
    def operators(self) -> Operators: ...

    def build(
        self,
        spec: Spec,
        state: State,
        precision: str = ...,
        exact_gates: bool = False,
        device: str = ...,
    ) -> Net:
        """Builds a net to probe.

        Args:
            spec: what to build.
            state: canonical state.
            precision: one of ``PRECISIONS``.
            exact_gates: compute sigmoid and SiLU in float64 and round the result.
            device: where to compute.

        Raises:
            StateError: the state does not fit the spec.
            ValueError: no such precision, or no such device here.
        """

    def layer_names(self, net: Net) -> list[str]:
        """Names of the layers a trace records: all but containers and identities."""

    def trace(self, net: Net, images: Array, mode: str = ...) -> dict[str, Activation]:
        """Runs the net in evaluation mode and records every named layer.

        Returns:
            Layer name -> activation, in the order in which the layers finish; the classifier is
            last and holds the logits.
        """

    def isolated(self, net: Net, inputs: Mapping[str, Array], mode: str = ...) -> Arrays:
        """Runs each named layer alone, in evaluation mode: name -> input to name -> output."""

    def gradients(
        self,
        net: Net,
        images: Array,
        labels: Array,
        label_smoothing: float = 0.0,
        mode: str = ...,
    ) -> Gradients:
        """Runs forward and back once in training mode; batch-norm statistics of ``net`` move."""

    def flow(
        self,
        net: Net,
        images: Array,
        labels: Array,
        label_smoothing: float = 0.0,
        mode: str = ...,
    ) -> dict[str, Flow]:
        """Computes :meth:`gradients`, and records each named layer's output and its gradient.

        Returns:
            Layer name -> flow, in the order in which the layers finish.
        """

    def backward(
        self, net: Net, given: Mapping[str, tuple[Array, Array]], mode: str = ...
    ) -> dict[str, Backward]:
        """Runs each named layer alone, in training mode, forward and then back.

        Args:
            net: the batch-norm statistics of the layers move.
            given: layer name -> its input, and the gradient of its output; no layer may lie within
                another one.
            mode: how to run.

        Returns:
            Layer name -> gradients.
        """

    def update(
        self,
        state: TrainingState,
        gradients: Sequence[State],
        learning_rates: Sequence[float],
        ema_decays: Sequence[float],
        precision: str = ...,
        device: str = ...,
    ) -> TrainingState:
        """Takes optimizer steps on gradients that are given, each followed by the average.

        Args:
            state: where to start.
            gradients: of each step, trained key -> gradient.
            learning_rates: of each step.
            ema_decays: of each step.
            precision: "float32", or "float64" where the framework has it.
            device: where to compute.

        Returns:
            Weights, averages and slots after the last step, with the progress of ``state``.
        """

    def fed(self, batch: TrainingBatch, preprocessing: Preprocessing) -> Arrays:
        """Returns what training feeds the net of a batch.

        Returns:
            "pixels", normalised, float32 (N, C, H, W), and beside them what the batch has of
            "labels", "dropout" and "drop_path".
        """

    def settings(self, device: str) -> dict[str, str]:
        """Returns the framework's switches that change numbers, and the accelerator, as texts."""
