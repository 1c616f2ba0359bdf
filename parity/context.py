"""The bench the suite stands on: nets, inputs and all they compute, each piece made once."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.backend import REFERENCE, Backend, load_backend
from tinynet.checkpoints.files import load_training, save_training
from tinynet.checkpoints.training_state import TrainingState, initial_training_state
from tinynet.data.sources import fingerprint
from tinynet.deploy import onnx_file
from tinynet.net.manifest import State
from tinynet.recipe import Recipe, load_recipe
from tinynet.spec import Spec

from parity import inputs
from parity.distances import Array
from parity.tolerances.bounds import Bound
from parity.tolerances.calibration import Calibration, Setting, find_calibration, scaled
from parity.tolerances.quantities import is_non_smooth, layer_quantity
from parity.trajectory import Course, Trajectory, envelope, follow, train

# The paper's recipe trains with it, so the loss is proved with it.
LABEL_SMOOTHING = 0.1
# The noise is the largest error of so many float32 runs: one on the pixels, the others on pixels
# one rounding away from them. A tensor of few numbers may come out nearly right by luck once.
NOISE_SAMPLES = 4
# The stretch of training: so many steps on so many images, in batches that do not divide them.
STEPS, IMAGES, BATCH = 8, 10, 4
# Where runs part, each step multiplies what rounding did: all of three were close to the reference
# by luck in one of 130 seeds, and an honest run was 13 times as far from it.
ENVELOPE_SAMPLES = 6
# What makes a recipe visible in a few steps, so large a batch taken away: the warm-up ends and two
# stairs come within them, and the average and the weight decay move things by more than roundings.
_CHANGES = (
    f"batch_size={BATCH}", f"epochs={STEPS * BATCH / IMAGES}", "schedule.learning_rate=0.0005",
    "schedule.warmup_epochs=0.8", "schedule.decay_epochs=0.8", "optimizer.weight_decay=0.001",
)  # fmt: skip
_EMA_CHANGE = "ema.decay=0.9"
# Optimizer -> the recipe that has it; the first one's average is what the check ema looks at.
_OPTIMIZERS = {"rmsprop": "imagenet", "sgd": "imagenet_resnet"}
# Of the steps on gradients that are given.
_RATES, _DECAYS = (0.01, 0.02, 0.005), (0.9, 0.5, 0.99)
# Of both signs, but so that the steps do not cancel: what is left of them would be all rounding.
_GRADIENT_FACTORS = (1.0, 0.5, -0.25)
# Farther from a seed than anybody counts seeds up.
_SEEDS_APART = 1_000_003
NATIVE_SUFFIX = {"torch": ".pth", "mindspore": ".ckpt"}


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the net: a twin, a mode, a device, a precision, and whether its gates are
    computed in float64.
    """

    framework: str
    mode: str
    device: str = "cpu"
    precision: str = "float32"
    exact_gates: bool = False

    def __str__(self) -> str:
        words = [self.framework, self.mode]
        words += [self.device] * (self.device != "cpu")
        words += [self.precision] * (self.precision != "float32")
        return " ".join(words) + ", exact gates" * self.exact_gates

    @property
    def setting(self) -> Setting:
        """What its errors depend on."""
        version = metadata.version(self.framework).partition("+")[0]
        return Setting(self.framework, version, self.device, self.precision, self.mode)


# Whose float32 errors are the noise that every bound is a multiple of.
BASELINE = Candidate(REFERENCE, "eager")


def candidates_of(
    framework: str = "mindspore",
    modes: Sequence[str] = (),
    device: str = "cpu",
    precision: str = "float32",
) -> list[Candidate]:
    """The ways to run a framework that are to be proven.

    Args:
        framework: the twin.
        modes: some of its ``MODES``; by default all.
        device: one of its ``DEVICES``.
        precision: one of its probe's ``PRECISIONS`` but float64.

    Raises:
        BackendError: no such framework, or it is not installed.
        ValueError: no such mode, device or precision.
    """
    twin = load_backend(framework, tune=True)
    known: tuple[str, ...] = twin.predict.MODES
    if not set(modes) <= set(known):
        raise ValueError(f"modes are {', '.join(modes)}, expected some of {', '.join(known)}")
    precisions = [name for name in twin.probe.PRECISIONS if name != "float64"]
    if precision not in precisions:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(precisions)}")
    twin.predict.set_device(device)
    return [Candidate(framework, mode, device, precision) for mode in modes or known]


def stretch_recipe(name_or_path: str = "imagenet_drop_path") -> Recipe:
    """A recipe, by default the paper's with all that it has, for a stretch of few small steps.

    Raises:
        RecipeError: no such recipe, or one that cannot be shortened.
    """
    averages = load_recipe(name_or_path).ema is not None
    return load_recipe(name_or_path, (*_CHANGES, *[_EMA_CHANGE] * averages))


class Context:
    """Everything the checks compare, each piece computed when it is first asked for.

    Args:
        spec: the net.
        state: canonical state, by default one made from ``seed``.
        seed: of pixels, labels and state.
        candidates: what is to be proven; all of one framework, device and precision.
        folder: for the files that are written on the way.
        calibrations: the folder of the calibrations that bounds are taken from, None for bounds
            that nobody calibrated.

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
    ):
        self.spec = spec
        self.seed = seed
        self.folder = folder
        self.calibrations = calibrations
        self.candidates = list(candidates)
        self.first = self.candidates[0]
        self.baseline = BASELINE
        self.candidate = load_backend(self.first.framework, tune=True)
        # It tells one cause from all others, and in a coarser precision there are others.
        exact = dataclasses.replace(self.first, exact_gates=True)
        self.exact = [exact] if self.first.precision == "float32" else []
        self.frameworks = tuple(dict.fromkeys((REFERENCE, self.candidate.name)))
        self.non_smooth = is_non_smooth(spec)
        self.can_train = spec.input_size[0] in (1, 3) and spec.batch_norm is not None
        self.steps = STEPS
        self.optimizers = tuple(_OPTIMIZERS)
        self._state = state
        self.pixels = inputs.pixels(spec, 2, seed)
        self.training_pixels = inputs.pixels(spec, 4, seed + 1)
        self.labels = inputs.labels(spec, 4, seed)
        self._memory: dict[Any, Any] = {}

    @cached_property
    def state(self) -> State:
        """Canonical state: the one that was given, or one made from the seed."""
        if self._state is not None:
            return self._state
        return inputs.sample_state(self.spec, self.seed, self.reference)

    def bound(self, quantity: str, candidate: Candidate | None = None) -> Bound:
        """The bound of a quantity for a candidate, by default for the first one."""
        setting = (candidate or self.first).setting
        found = self._calibration(setting)
        return found.bound(quantity, self.spec) if found else scaled(quantity, setting.precision)

    def on_another_batch(self, number: int) -> Context:
        """The same nets on other pixels and labels.

        Args:
            number: from 1, which batch.
        """
        seed = self.seed + number * _SEEDS_APART
        return Context(self.spec, self.state, seed, self.candidates, self.folder, self.calibrations)

    def origin_of_bounds(self) -> dict[str, str]:
        """Subject -> where its bounds are from."""
        origins: dict[str, str] = {}
        for candidate in self.candidates:
            found = self._calibration(candidate.setting)
            origins[f"bounds of {candidate}"] = (
                f"calibrated on {found.measured_on} on {found.machine}, "
                f"{sum(found.seeds.values())} climbs"
                if found
                else "the limits of parity/tolerances/bounds.py, nobody has calibrated this setting"
            )
        return origins

    def _calibration(self, setting: Setting) -> Calibration | None:
        return find_calibration(setting, self.calibrations) if self.calibrations else None

    @cached_property
    def reference(self) -> Backend:
        """The twin that is run in float64."""
        return load_backend(REFERENCE, tune=True)

    def twin(self, candidate: Candidate) -> Backend:
        """The twin a candidate runs in."""
        return load_backend(candidate.framework, tune=True)

    def build(self, candidate: Candidate) -> Any:
        """A fresh net of a candidate."""
        return self.twin(candidate).probe.build(
            self.spec, self.state, candidate.precision, candidate.exact_gates, candidate.device
        )

    @cached_property
    def reference_net(self) -> Any:
        """The reference, in float64."""
        return self.reference.probe.build(self.spec, self.state, precision="float64")

    @cached_property
    def baseline_net(self) -> Any:
        """The same net in float32, whose errors are the noise."""
        return self.reference.probe.build(self.spec, self.state)

    @cached_property
    def reference_trace(self) -> dict[str, Any]:
        """Every named layer's activation, in float64."""
        return self.reference.probe.trace(self.reference_net, self.pixels)

    @cached_property
    def baseline_trace(self) -> dict[str, Any]:
        """Every named layer's activation, in float32."""
        return self.reference.probe.trace(self.baseline_net, self.pixels)

    @cached_property
    def baseline_outputs(self) -> dict[str, list[Array]]:
        """Every named layer's output in float32: several samples of the noise."""
        found = {name: [item.output] for name, item in self.baseline_trace.items()}
        for sample in range(1, NOISE_SAMPLES):
            jitter = inputs.jitter(self.pixels, sample, self.seed)
            for name, item in self.reference.probe.trace(self.baseline_net, jitter).items():
                found[name].append(item.output)
        return found

    @cached_property
    def reference_logits(self) -> Array:
        """What the whole net returns, in float64."""
        return self.reference_trace[self.spec.names.classifier].output

    @cached_property
    def baseline_logits(self) -> list[Array]:
        """The same in float32: several samples of the noise."""
        return self.baseline_outputs[self.spec.names.classifier]

    @cached_property
    def layer_inputs(self) -> dict[str, Array]:
        """What each layer is given alone: the reference's own input, rounded to float32."""
        return {name: item.input.astype(np.float32) for name, item in self.reference_trace.items()}

    @cached_property
    def reference_layers(self) -> dict[str, Array]:
        """Each layer alone, in float64."""
        return self.reference.probe.isolated(self.reference_net, self.layer_inputs)

    @cached_property
    def baseline_layers(self) -> list[dict[str, Array]]:
        """Each layer alone, in float32: several samples of the noise."""
        found: list[dict[str, Array]] = []
        for sample in range(NOISE_SAMPLES):
            given = {
                name: inputs.jitter(values, sample, self.seed)
                for name, values in self.layer_inputs.items()
            }
            found.append(self.reference.probe.isolated(self.baseline_net, given))
        return found

    @cached_property
    def reference_gradients(self) -> Any:
        """One training step in float64."""
        net = self.reference.probe.build(self.spec, self.state, precision="float64")
        return self.reference.probe.gradients(
            net, self.training_pixels, self.labels, LABEL_SMOOTHING
        )

    @cached_property
    def baseline_gradients(self) -> list[Any]:
        """The same step in float32: several samples of the noise."""
        found: list[Any] = []
        for sample in range(NOISE_SAMPLES):
            jitter = inputs.jitter(self.training_pixels, sample, self.seed)
            net = self.reference.probe.build(self.spec, self.state)
            found.append(self.reference.probe.gradients(net, jitter, self.labels, LABEL_SMOOTHING))
        return found

    def trace(self, candidate: Candidate) -> dict[str, Any]:
        """Every named layer's activation in a candidate."""
        return self._once(
            ("trace", candidate),
            lambda: self.twin(candidate).probe.trace(
                self.build(candidate), self.pixels, candidate.mode
            ),
        )

    def layers(self, candidate: Candidate) -> tuple[dict[str, Array], list[str]]:
        """Each layer alone in a candidate, as far as both have it, and the candidate's other
        layers.

        With exact gates only those layers that have gates: the others are what they are without.
        """
        probe, net = self.twin(candidate).probe, self.build(candidate)
        names = probe.layer_names(net)
        if candidate.exact_gates:
            names = [name for name in names if layer_quantity(name, self.spec) == "gate layer"]
        given = {name: self.layer_inputs[name] for name in names if name in self.layer_inputs}
        found = probe.isolated(net, given, candidate.mode)
        return found, [name for name in names if name not in given]

    def gradients(self, candidate: Candidate) -> Any:
        """One training step in a candidate."""
        return self._once(
            ("gradients", candidate),
            lambda: self.twin(candidate).probe.gradients(
                self.build(candidate),
                self.training_pixels,
                self.labels,
                LABEL_SMOOTHING,
                candidate.mode,
            ),
        )

    @cached_property
    def reference_flow(self) -> dict[str, Any]:
        """What each layer was given and returned in training, and its gradient, in float64."""
        net = self.reference.probe.build(self.spec, self.state, precision="float64")
        return self.reference.probe.flow(net, self.training_pixels, self.labels, LABEL_SMOOTHING)

    @cached_property
    def backward_inputs(self) -> dict[str, tuple[Array, Array]]:
        """What each block, and each layer beside the blocks, is given alone: the reference's own
        input and gradient, rounded to float32.
        """
        blocks = {block.key for block in self.spec.blocks()}
        found = {
            name: (flow.input.astype(np.float32), flow.gradient.astype(np.float32))
            for name, flow in self.reference_flow.items()
            if name in blocks or "." not in name
        }
        self.release("reference_flow")  # gigabytes, of which little is needed
        return found

    @cached_property
    def reference_backward(self) -> dict[str, Any]:
        """Gradients of each block alone, in float64."""
        net = self.reference.probe.build(self.spec, self.state, precision="float64")
        return self.reference.probe.backward(net, self.backward_inputs)

    @cached_property
    def baseline_backward(self) -> list[dict[str, Any]]:
        """The same in float32: several samples of the noise."""
        found: list[dict[str, Any]] = []
        for sample in range(NOISE_SAMPLES):
            given = {
                name: (inputs.jitter(values, sample, self.seed), gradient)
                for name, (values, gradient) in self.backward_inputs.items()
            }
            net = self.reference.probe.build(self.spec, self.state)
            found.append(self.reference.probe.backward(net, given))
        return found

    def backward(self, candidate: Candidate) -> dict[str, Any]:
        """Gradients of each block alone in a candidate."""
        net = self.build(candidate)
        names = set(self.twin(candidate).probe.layer_names(net))
        given = {name: pair for name, pair in self.backward_inputs.items() if name in names}
        return self.twin(candidate).probe.backward(net, given, candidate.mode)

    @cached_property
    def given_gradients(self) -> State:
        """What the optimizers are given: the reference's gradients, rounded to float32."""
        found = self.reference_gradients.parameters
        return {key: value.astype(np.float32) for key, value in found.items()}

    def reference_update(self, kind: str) -> TrainingState:
        """Steps of an optimizer on gradients that are given, in float64."""
        return self._update(REFERENCE, kind, "float64")

    def baseline_updates(self, kind: str) -> list[TrainingState]:
        """The same in float32, several times: samples of the noise."""
        return [self._update(REFERENCE, kind, "float32", sample=n) for n in range(NOISE_SAMPLES)]

    def update(self, kind: str) -> TrainingState:
        """The same in the candidate; weights and slots are float32 in every precision."""
        return self._update(self.candidate.name, kind, "float32", self.first.device)

    def _update(
        self, framework: str, kind: str, precision: str, device: str = "cpu", sample: int = 0
    ) -> TrainingState:
        def compute() -> TrainingState:
            given = {
                key: inputs.jitter(value, sample, self.seed)
                for key, value in self.given_gradients.items()
            }
            gradients = [
                {key: np.float32(factor) * value for key, value in given.items()}
                for factor in _GRADIENT_FACTORS
            ]
            start = inputs.training_state(self.spec, load_recipe(_OPTIMIZERS[kind]), self.state)
            probe = load_backend(framework).probe
            return probe.update(start, gradients, _RATES, _DECAYS, precision, device)

        return self._once(("update", framework, kind, precision, device, sample), compute)

    @cached_property
    def source(self) -> inputs.TrainingImages:
        """The images of the stretch of training."""
        return inputs.TrainingImages(self.spec, IMAGES, self.seed)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the stretch of training."""
        return stretch_recipe()

    @cached_property
    def start(self) -> TrainingState:
        """Where the stretch of training begins."""
        return initial_training_state(
            self.spec, self.recipe, self.seed, len(self.source), fingerprint(self.source),
            self.state,
        )  # fmt: skip

    @cached_property
    def reference_course(self) -> Trajectory:
        """The stretch of training in float64."""
        return follow(REFERENCE, self.start, self.source, STEPS, precision="float64")

    @cached_property
    def envelope(self) -> list[Trajectory]:
        """The same in float32, from several starts: what rounding may do."""
        return envelope(self.start, self.source, STEPS, ENVELOPE_SAMPLES)

    def course(self, candidate: Candidate) -> Course:
        """The stretch of training by a candidate's own loop."""
        return self._once(
            ("course", candidate),
            lambda: train(
                candidate.framework, self.start, self.source,
                self._folder("course"), compiled=candidate.mode == "graph",
                device=candidate.device, precision=candidate.precision,
            ),
        )  # fmt: skip

    def resumed(self, before: Candidate, after: Candidate) -> Course:
        """The second half by a candidate's own loop, from a checkpoint of another's first half.

        Its trajectory has the losses of both halves.
        """

        def run(candidate: Candidate, start: TrainingState, stop_after: int | None) -> Course:
            # Nobody looks at their evaluations.
            return train(
                candidate.framework, start, self.source, self._folder("part"), stop_after,
                compiled=candidate.mode == "graph",
                device=candidate.device, precision=candidate.precision,
                validation=inputs.TrainingImages(self.spec, 1, self.seed),
            )  # fmt: skip

        first = self._once(("half", before), lambda: run(before, self.start, STEPS // 2))
        start = load_training(first.checkpoint)
        if before.framework != after.framework:
            # As a user moves it: in the file format of where it comes from.
            path = self._folder("moved") / f"half{NATIVE_SUFFIX[before.framework]}"
            save_training(path, start)
            start = load_training(path)
        second = run(after, start, None)
        losses = np.concatenate([first.trajectory.losses, second.trajectory.losses])
        return dataclasses.replace(second, trajectory=Trajectory(losses, second.trajectory.state))

    def release(self, *pieces: str) -> None:
        """Drops pieces by the names of their attributes; each is made again if it is asked for.

        What holds the activations of every layer, or all weights many times over, is a gigabyte
        and more for a large net, so the check that is the last to need it lets it go.
        """
        for piece in pieces:
            self.__dict__.pop(piece, None)
            for key in [key for key in self._memory if key[0] == piece]:
                del self._memory[key]

    def _folder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

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
