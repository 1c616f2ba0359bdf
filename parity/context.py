"""What the suite is built on: nets, inputs and all that they compute, each piece made once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.backend import REFERENCE, Backend, load_backend
from tinynet.backend.values import Activation, Backward, Flow, Gradients
from tinynet.checkpoints.training_state import TrainingState
from tinynet.deploy import onnx_file
from tinynet.net.manifest import State
from tinynet.recipe import load_recipe
from tinynet.spec import Spec

from parity import inputs
from parity.candidates import BASELINE, TRUTH, Candidate
from parity.context_training import Inputs, TrainingContext, memoised
from parity.distances import Array
from parity.results import Comparison
from parity.tolerances.bounds import Bound
from parity.tolerances.calibration import Calibration, Setting, find_calibration, scaled
from parity.tolerances.quantities import is_non_smooth

# The paper's recipe trains with it, so the loss is proven with it.
LABEL_SMOOTHING = 0.1
# The noise is the largest error of so many float32 runs: one on the pixels, the others on pixels
# one rounding away from them. A tensor of few numbers may come out nearly right by luck once.
NOISE_SAMPLES = 4
# Optimizer -> the recipe that has it; the check ema looks at the average of the first one.
OPTIMIZERS = {"rmsprop": "imagenet", "sgd": "imagenet_resnet"}
# Of the steps on given gradients.
_RATES, _DECAYS = (0.01, 0.02, 0.005), (0.9, 0.5, 0.99)
# Of both signs, but so that the steps do not cancel: what is left of them would be all rounding.
_GRADIENT_FACTORS = (1.0, 0.5, -0.25)
# Farther from a seed than anybody counts seeds up.
_SEEDS_APART = 1_000_003


class Context(TrainingContext):
    """Everything the checks compare, each piece computed when it is first asked for.

    Candidates are those under test, and :data:`parity.candidates.TRUTH`, the reference, and
    :data:`parity.candidates.BASELINE`. A sample of the noise is a run on inputs that are moved by
    up to one float32 rounding; sample 0 is not moved.

    Args:
        spec: the net.
        state: canonical state, by default one made from ``seed``.
        seed: of pixels, labels and state.
        candidates: what is to be proven; all of one framework, device and precision.
        folder: for the files that are written on the way.
        calibrations: the folder of calibrations, None for bounds that are not calibrated.
        given: inputs that take the place of those made from the seed.
        without_reference: layers and optimizers are given what the first candidate computes, where
            the reference's framework is not installed.

    Raises:
        BackendError: the framework of the candidates is not installed. PyTorch, the reference, is
            needed only for what it computes.
    """

    def __init__(
        self,
        spec: Spec,
        state: State | None,
        seed: int,
        candidates: Sequence[Candidate],
        folder: Path,
        calibrations: Path | None,
        given: Inputs | None = None,
        without_reference: bool = False,
    ):
        super().__init__(spec, state, seed, folder, given or Inputs())
        self.calibrations = calibrations
        self.origin_of_inputs = candidates[0] if without_reference else TRUTH
        self.candidates = list(candidates)
        self.first = self.candidates[0]
        load_backend(self.first.framework, tune=True)
        # It tells one cause from all others, and in a coarser precision there are others.
        exact = dataclasses.replace(self.first, exact_gates=True)
        self.exact = [exact] if self.first.precision == "float32" else []
        self.with_baseline = list(dict.fromkeys((BASELINE, *self.candidates)))
        self.frameworks = tuple(dict.fromkeys((REFERENCE, self.first.framework)))
        self.non_smooth = is_non_smooth(spec)

        def chosen(values: Array | None, otherwise: Array) -> Array:
            return otherwise if values is None else values

        given = self.given
        self.pixels = chosen(given.pixels, inputs.pixels(spec, 2, seed))
        self.training_pixels = chosen(given.training_pixels, inputs.pixels(spec, 4, seed + 1))
        self.labels = chosen(given.labels, inputs.labels(spec, 4, seed))

    def on_another_batch(self, number: int) -> Context:
        """Makes a context of the same nets on other pixels and labels; ``number`` is from 1."""
        seed = self.seed + number * _SEEDS_APART
        return Context(self.spec, self.state, seed, self.candidates, self.folder, self.calibrations)

    @memoised
    def bound(self, quantity: str, candidate: Candidate | None = None) -> Bound:
        """Finds the bound of a quantity for a candidate, by default for the first one."""
        setting = (candidate or self.first).setting
        found = self._calibration(setting)
        return found.bound(quantity, self.spec) if found else scaled(quantity, setting.precision)

    def origin_of_bounds(self) -> dict[str, str]:
        """Says of each candidate where its bounds are from."""
        origins: dict[str, str] = {}
        for candidate in self.candidates:
            text = "the limits of parity/tolerances/bounds.py, this setting is not calibrated"
            if found := self._calibration(candidate.setting):
                runs = sum(found.seeds.values())
                text = f"calibrated on {found.measured_on} on {found.machine}, {runs} runs"
            origins[f"bounds of {candidate}"] = text
        return origins

    def _calibration(self, setting: Setting) -> Calibration | None:
        return find_calibration(setting, self.calibrations) if self.calibrations else None

    def candidate_of(self, comparison: Comparison) -> Candidate:
        """Finds the candidate that a comparison is about, by default the first one."""
        wanted = comparison.framework, comparison.mode
        found = (each for each in self.candidates if (each.framework, each.mode) == wanted)
        return next(found, self.first)

    def twin(self, candidate: Candidate) -> Backend:
        """Loads the twin that a candidate runs in."""
        return load_backend(candidate.framework, tune=True)

    def build(self, candidate: Candidate, state: State | None = None) -> Any:
        """Builds a fresh net of a candidate, by default with the context's state."""
        state = self.state if state is None else state
        settings = candidate.precision, candidate.exact_gates, candidate.device
        return self.twin(candidate).probe.build(self.spec, state, *settings)

    def moved(self, arrays: Mapping[str, Array], sample: int) -> dict[str, Array]:
        """Moves each number by up to one float32 rounding, for a sample of the noise."""
        return {name: inputs.jitter(array, sample, self.seed) for name, array in arrays.items()}

    # Evaluation

    @memoised
    def trace(self, candidate: Candidate) -> dict[str, Activation]:
        """Records every named layer's activation."""
        return self._trace(candidate, 0)

    def _trace(self, candidate: Candidate, sample: int) -> dict[str, Activation]:
        images = inputs.jitter(self.pixels, sample, self.seed)
        return self.twin(candidate).probe.trace(self.build(candidate), images, candidate.mode)

    @memoised
    def outputs(self, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        """Records every named layer's output."""
        traced = self._trace(candidate, sample) if sample else self.trace(candidate)
        return {name: item.output for name, item in traced.items()}

    @cached_property
    def reference_logits(self) -> Array:
        """What the whole net returns, in float64."""
        return self.outputs(TRUTH)[self.spec.names.classifier]

    @cached_property
    def baseline_logits(self) -> list[Array]:
        """The same in float32: several samples of the noise."""
        name = self.spec.names.classifier
        return [self.outputs(BASELINE, sample)[name] for sample in range(NOISE_SAMPLES)]

    @cached_property
    def layer_inputs(self) -> Mapping[str, Array]:
        """What each layer is given alone: the reference's own input, rounded to float32.

        Without a reference any input is a fair one, such as the first candidate's own.
        """
        if self.given.layer_inputs is not None:
            return self.given.layer_inputs
        traced = self.trace(self.origin_of_inputs)
        return {name: item.input.astype(np.float32) for name, item in traced.items()}

    def layer_names(self, candidate: Candidate) -> list[str]:
        """Lists every named layer."""
        return self.twin(candidate).probe.layer_names(self.build(candidate))

    def layers(
        self, candidate: Candidate, names: Sequence[str], sample: int = 0
    ) -> dict[str, Array]:
        """Runs some layers, each alone."""
        given = self.moved({name: self.layer_inputs[name] for name in names}, sample)
        return self.twin(candidate).probe.isolated(self.build(candidate), given, candidate.mode)

    # A training step

    @memoised
    def gradients(self, candidate: Candidate, sample: int = 0) -> Gradients:
        """Runs one training step, up to the gradients."""
        images = inputs.jitter(self.training_pixels, sample, self.seed)
        settings = self.labels, LABEL_SMOOTHING, candidate.mode
        return self.twin(candidate).probe.gradients(self.build(candidate), images, *settings)

    def flow(self, candidate: Candidate) -> dict[str, Flow]:
        """Records what each layer is given and returns in training, and the gradient of that."""
        settings = self.training_pixels, self.labels, LABEL_SMOOTHING, candidate.mode
        return self.twin(candidate).probe.flow(self.build(candidate), *settings)

    @cached_property
    def backward_inputs(self) -> dict[str, tuple[Array, Array]]:
        """What each block, and each layer beside the blocks, is given alone: the reference's own
        input and gradient, rounded to float32.
        """
        blocks = {block.key for block in self.spec.blocks()}
        return {
            name: (flow.input.astype(np.float32), flow.gradient.astype(np.float32))
            for name, flow in self.flow(TRUTH).items()
            if name in blocks or "." not in name
        }

    def backward(self, candidate: Candidate, sample: int = 0) -> dict[str, Backward]:
        """Computes the gradients of each block alone."""
        probe, net = self.twin(candidate).probe, self.build(candidate)
        names = set(probe.layer_names(net))
        given = {
            name: (inputs.jitter(values, sample, self.seed), gradient)
            for name, (values, gradient) in self.backward_inputs.items()
            if name in names
        }
        return probe.backward(net, given, candidate.mode)

    # The optimizers alone

    @cached_property
    def given_gradients(self) -> Mapping[str, Array]:
        """What the optimizers are given: the reference's gradients, rounded to float32."""
        if self.given.gradients is not None:
            return self.given.gradients
        found = self.gradients(self.origin_of_inputs).parameters
        return {key: value.astype(np.float32) for key, value in found.items()}

    @memoised
    def update(self, candidate: Candidate, kind: str, sample: int = 0) -> TrainingState:
        """Takes steps of an optimizer on the given gradients.

        Weights and slots are float32 in every precision but the reference's.
        """
        given, factors = (
            self.moved(self.given_gradients, sample),
            map(np.float32, _GRADIENT_FACTORS),
        )
        gradients = [{key: f * value for key, value in given.items()} for f in factors]
        start = inputs.training_state(self.spec, load_recipe(OPTIMIZERS[kind]), self.state)
        precision = candidate.precision if candidate == TRUTH else "float32"
        settings = _RATES, _DECAYS, precision, candidate.device
        return self.twin(candidate).probe.update(start, gradients, *settings)

    @memoised
    def onnx_path(self, framework: str) -> Path:
        """Exports an ONNX file from a twin."""
        path = self.folder / f"{framework}.onnx"
        onnx_file.export(framework, self.spec, self.state, path)
        return path
