"""The bench the ladder stands on: nets, inputs and all they compute, each piece made once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.manifest import State
from tinynet.spec import Spec

from parity import inputs, onnx_file
from parity.compare import Array
from parity.twins import JUDGE, Twin, load_twin

# The paper's recipe trains with it, so the loss is proved with it.
LABEL_SMOOTHING = 0.1
# The noise is the largest error of so many float32 runs: one on the pixels, the others on pixels
# one rounding away from them. A tensor of few numbers may come out nearly right by luck once.
NOISE_SAMPLES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """One way to run the net: a twin, a mode, and whether its gates are computed in float64."""

    framework: str
    mode: str
    exact_gates: bool = False

    def __str__(self) -> str:
        return f"{self.framework} {self.mode}{', exact gates' * self.exact_gates}"


class Bench:
    """Everything the rungs compare, each piece computed when it is first asked for.

    Args:
        spec: the net.
        state: canonical state, by default one made from ``seed``.
        seed: of pixels, labels and state.
        modes: of the MindSpore twin; by default all it has.
        folder: for the files that are written on the way.

    Raises:
        TwinError: a framework is not installed.
        ValueError: no such mode.
    """

    def __init__(
        self, spec: Spec, state: State | None, seed: int, modes: Sequence[str], folder: Path
    ):
        self.spec = spec
        self.seed = seed
        self.folder = folder
        self.judge = load_twin(JUDGE)
        self.candidate = load_twin("mindspore")
        known: tuple[str, ...] = self.candidate.modes.MODES
        if not set(modes) <= set(known):
            raise ValueError(f"modes are {', '.join(modes)}, expected some of {', '.join(known)}")
        self.subjects = [Subject("mindspore", mode) for mode in modes or known]
        self.exact = Subject("mindspore", known[0], exact_gates=True)
        self.state = inputs.sample_state(spec, seed, self.judge) if state is None else state
        self.pixels = inputs.pixels(spec, 2, seed)
        self.training_pixels = inputs.pixels(spec, 4, seed + 1)
        self.labels = inputs.labels(spec, 4, seed)
        self._memory: dict[Any, Any] = {}

    def twin(self, subject: Subject) -> Twin:
        """The twin a subject runs in."""
        return load_twin(subject.framework)

    def build(self, subject: Subject) -> Any:
        """A fresh net of a subject."""
        return self.twin(subject).probe.build(
            self.spec, self.state, exact_gates=subject.exact_gates
        )

    @cached_property
    def judge_net(self) -> Any:
        """The judge, in float64."""
        return self.judge.probe.build(self.spec, self.state, precision="float64")

    @cached_property
    def reference_net(self) -> Any:
        """The same net in float32, whose errors are the noise."""
        return self.judge.probe.build(self.spec, self.state)

    @cached_property
    def judge_trace(self) -> dict[str, Any]:
        """Every named layer's activation, in float64."""
        return self.judge.probe.trace(self.judge_net, self.pixels)

    @cached_property
    def reference_trace(self) -> dict[str, Any]:
        """Every named layer's activation, in float32."""
        return self.judge.probe.trace(self.reference_net, self.pixels)

    @cached_property
    def reference_outputs(self) -> dict[str, list[Array]]:
        """Every named layer's output in float32: several samples of the noise."""
        traces = [self.reference_trace]
        for sample in range(1, NOISE_SAMPLES):
            jitter = inputs.jitter(self.pixels, sample, self.seed)
            traces.append(self.judge.probe.trace(self.reference_net, jitter))
        return {name: [trace[name].output for trace in traces] for name in self.reference_trace}

    @cached_property
    def layer_inputs(self) -> dict[str, Array]:
        """What each layer is given alone: the judge's own input, rounded to float32."""
        return {name: item.input.astype(np.float32) for name, item in self.judge_trace.items()}

    @cached_property
    def judge_layers(self) -> dict[str, Array]:
        """Each layer alone, in float64."""
        return self.judge.probe.isolated(self.judge_net, self.layer_inputs)

    @cached_property
    def reference_layers(self) -> dict[str, Array]:
        """Each layer alone, in float32."""
        return self.judge.probe.isolated(self.reference_net, self.layer_inputs)

    @cached_property
    def judge_gradients(self) -> Any:
        """One training step in float64."""
        net = self.judge.probe.build(self.spec, self.state, precision="float64")
        return self.judge.probe.gradients(net, self.training_pixels, self.labels, LABEL_SMOOTHING)

    @cached_property
    def reference_gradients(self) -> list[Any]:
        """The same step in float32: several samples of the noise."""
        found: list[Any] = []
        for sample in range(NOISE_SAMPLES):
            jitter = inputs.jitter(self.training_pixels, sample, self.seed)
            net = self.judge.probe.build(self.spec, self.state)
            found.append(self.judge.probe.gradients(net, jitter, self.labels, LABEL_SMOOTHING))
        return found

    def trace(self, subject: Subject) -> dict[str, Any]:
        """Every named layer's activation in a subject."""
        return self._once(
            ("trace", subject),
            lambda: self.twin(subject).probe.trace(self.build(subject), self.pixels, subject.mode),
        )

    def layers(self, subject: Subject) -> tuple[dict[str, Array], list[str]]:
        """Each layer alone in a subject, as far as both have it, and the subject's other layers."""
        probe, net = self.twin(subject).probe, self.build(subject)
        names = probe.layer_names(net)
        given = {name: self.layer_inputs[name] for name in names if name in self.layer_inputs}
        found = probe.isolated(net, given, subject.mode)
        return found, [name for name in names if name not in given]

    def gradients(self, subject: Subject) -> Any:
        """One training step in a subject."""
        return self._once(
            ("gradients", subject),
            lambda: self.twin(subject).probe.gradients(
                self.build(subject),
                self.training_pixels,
                self.labels,
                LABEL_SMOOTHING,
                subject.mode,
            ),
        )

    def onnx_path(self, framework: str) -> Path:
        """An ONNX file exported from a twin."""

        def export() -> Path:
            path = self.folder / f"{framework}.onnx"
            onnx_file.export(framework, self.spec, self.state, path)
            return path

        return self._once(("onnx", framework), export)

    def _once(self, key: Any, compute: Callable[[], Any]) -> Any:
        if key not in self._memory:
            self._memory[key] = compute()
        return self._memory[key]
