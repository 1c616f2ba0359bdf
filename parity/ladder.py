"""The parity ladder: what is compared, in which order, on what evidence.

Rungs stand on one another: parameters and pixels must be the same before layers can be, layers
before logits, and so on. The judge is the PyTorch twin in float64, the noise that of the PyTorch
twin in float32; the subjects are every other way to run the same net.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from tinynet.complexity import count
from tinynet.derive import derive
from tinynet.documents import format_path
from tinynet.images import load_input, preprocess
from tinynet.labels import class_names
from tinynet.manifest import State, manifest
from tinynet.spec import Spec, format_spec, list_specs, load_spec, parse_spec, spec_document

from parity import inputs, onnx_file
from parity.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from parity.compare import Array, compare_bits, compare_values, norm
from parity.convert import convert
from parity.evidence import Evidence, Report, Rung
from parity.tolerance import BOUNDS, Bound
from parity.twins import Twin, load_twin

JUDGE = "torch"
# The paper's recipe trains with it, so the loss is proved with it.
LABEL_SMOOTHING = 0.1
# A norm below this share of the whole gradient's is rounding of an analytically zero gradient,
# such as a bias's whose output goes into a batch norm.
ZERO_GRADIENT = 1e-6
# SHA-256 of the float32 pixels of `_test_card` at TinyNet-E's preprocessing; equal to timm
# 1.0.31's create_transform(is_training=False) on the same image.
TEST_CARD_SHA256 = "cc807855a0bf10150414d847169f759ab7a3daa29b5153cbbc4a37e8ac25f5cb"


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
        return self.judge.probe.build(self.spec, self.state, dtype="float64")

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
        net = self.judge.probe.build(self.spec, self.state, dtype="float64")
        return self.judge.probe.gradients(net, self.training_pixels, self.labels, LABEL_SMOOTHING)

    @cached_property
    def reference_gradients(self) -> list[Any]:
        """The same step in float32, on the pixels and on pixels one rounding away from them.

        Each is another sample of the noise, which for a small parameter varies a lot.
        """
        found: list[Any] = []
        for sample in range(3):
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


def _spec(bench: Bench) -> Iterator[Evidence]:
    spec = bench.spec
    yield _fields("JSON round trip", spec, parse_spec(format_spec(spec)))
    if spec.expected is not None:
        counted = count(spec)
        for field in ("macs", "params"):
            expected, found = getattr(spec.expected, field), getattr(counted, field)
            note = "" if found == expected else f"the layers count to {found}, expected {expected}"
            error = abs(found - expected) / expected
            yield Evidence("layer table", f"expected.{field}", error, 0.0, note=note)
    if spec.derivation is not None and spec.derivation.base in list_specs():
        base = load_spec(spec.derivation.base)
        derived = derive(base, spec.derivation.twist, spec.name)
        yield _fields(f"derived from {base.name}", derived, spec)


def _fields(subject: str, found: Spec, expected: Spec) -> Evidence:
    has, wants = dict(_leaves(spec_document(found))), dict(_leaves(spec_document(expected)))
    for path in {**wants, **has}:
        if path != "source" and has.get(path) != wants.get(path):
            note = f"{has.get(path)!r}, expected {wants.get(path)!r}"
            return Evidence(subject, path, 1.0, 0.0, kind="bits", note=note)
    return Evidence(subject, "every field", 0.0, 0.0, kind="bits")


def _leaves(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    children: Iterable[tuple[str | int, Any]]
    if isinstance(value, dict):
        children = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        children = enumerate(cast("list[Any]", value))
    else:
        yield format_path(steps), value
        return
    for step, child in children:
        yield from _leaves(child, (*steps, step))


def _pixels(bench: Bench) -> Iterator[Evidence]:
    card = preprocess(_test_card(), load_spec("tinynet_e"))
    matches = hashlib.sha256(card.tobytes()).hexdigest() == TEST_CARD_SHA256
    note = "" if matches else "not the pixels that timm's transform makes of the test card"
    yield Evidence("pixel path", "test card", float(not matches), 0.0, kind="bits", note=note)
    yield _stem_input("torch eager", bench.reference_trace, bench.pixels)
    for subject in bench.subjects:
        yield _stem_input(str(subject), bench.trace(subject), bench.pixels)


def _stem_input(subject: str, trace: dict[str, Any], truth: Array) -> Evidence:
    found = trace["conv_stem"].input if "conv_stem" in trace else None
    return compare_bits(subject, "input of conv_stem", found, truth)


def _test_card() -> Image.Image:
    # Every row, column and channel differs, so that no flip, shift or channel swap can hide.
    rows, columns, channels = np.ogrid[0:150, 0:210, 0:3]
    values = (rows * 3 + columns * (channels + 1) + rows * columns // 40 + channels * 60) % 256
    return Image.fromarray(values.astype(np.uint8), "RGB")


def _parameters(bench: Bench) -> Iterator[Evidence]:
    for subject in (Subject(JUDGE, bench.judge.modes.MODES[0]), bench.subjects[0]):
        found = bench.twin(subject).state.read_state(bench.build(subject))
        for key, truth in bench.state.items():
            yield compare_bits(subject.framework, key, found.get(key), truth)


def _checkpoints(bench: Bench) -> Iterator[Evidence]:
    original = Checkpoint(bench.state, bench.spec)
    for source, destination in itertools.permutations((".safetensors", ".pth", ".ckpt"), 2):
        from_path = bench.folder / f"from{source}"
        to_path = bench.folder / f"to{destination}"
        try:
            save_checkpoint(from_path, original)
            convert(from_path, to_path, bench.spec)
            found = load_checkpoint(to_path, bench.spec).state
        except ValueError as error:
            subject = f"{source} to {destination}"
            yield Evidence(subject, "whole file", math.inf, 0.0, kind="error", note=str(error))
            continue
        for key, truth in bench.state.items():
            yield compare_bits(f"{source} to {destination}", key, found.get(key), truth)


def _layers_isolated(bench: Bench) -> Iterator[Evidence]:
    for subject in (*bench.subjects, bench.exact):
        found, others = bench.layers(subject)
        for name in others:
            note = "the judge has no such layer"
            yield Evidence(str(subject), name, math.inf, 0.0, kind="unexpected", note=note)
        for name, truth in bench.judge_layers.items():
            bound = BOUNDS["layer"] if subject.exact_gates else _layer_bound(name)
            reference = bench.reference_layers[name]
            yield compare_values(str(subject), name, found.get(name), truth, [reference], bound)


def _layer_bound(name: str) -> Bound:
    # Convolutions, batch norms, pooling and classifier have no exp in them; activations, gates,
    # squeeze-excites and whole blocks have.
    leaf = name.rpartition(".")[2]
    plain = leaf.startswith(("conv", "bn", "global_pool", "classifier"))
    return BOUNDS["layer" if plain else "gate layer"]


def _layers_chained(bench: Bench) -> Iterator[Evidence]:
    for subject in bench.subjects:
        found = bench.trace(subject)
        for name, truth in bench.judge_trace.items():
            output = found[name].output if name in found else None
            reference = bench.reference_trace[name].output
            yield compare_values(
                str(subject), name, output, truth.output, [reference], BOUNDS["chained"]
            )


def _logits(bench: Bench) -> Iterator[Evidence]:
    truth = bench.judge_trace["classifier"].output
    reference = bench.reference_trace["classifier"].output
    for subject in (*bench.subjects, bench.exact):
        bound = BOUNDS["logits, exact gates" if subject.exact_gates else "logits"]
        found = bench.trace(subject)["classifier"].output
        yield compare_values(str(subject), "classifier", found, truth, [reference], bound)


def _loss(bench: Bench) -> Iterator[Evidence]:
    truth = np.array(bench.judge_gradients.loss)
    references = [np.array(item.loss) for item in bench.reference_gradients]
    for subject in bench.subjects:
        found = np.array(bench.gradients(subject).loss)
        yield compare_values(str(subject), "loss", found, truth, references, BOUNDS["loss"])


def _gradients(bench: Bench) -> Iterator[Evidence]:
    judge, references = bench.judge_gradients, bench.reference_gradients
    kinked = bench.spec.activation == "relu6"
    bound = BOUNDS["gradient, kinked" if kinked else "gradient"]
    whole = float(np.sqrt(sum(norm(value) ** 2 for value in judge.parameters.values())))
    for subject in bench.subjects:
        found = bench.gradients(subject)
        # From the loss back to the input, the way gradients flow.
        for key in reversed(manifest(bench.spec)):
            if key not in judge.parameters:
                continue
            truth = judge.parameters[key]
            yield compare_values(
                str(subject), key, found.parameters.get(key), truth,
                [item.parameters[key] for item in references], bound,
                scale=whole if norm(truth) < ZERO_GRADIENT * whole else None,
            )  # fmt: skip
        yield compare_values(
            str(subject), "input", found.input, judge.input,
            [item.input for item in references], bound,
        )  # fmt: skip


def _statistics(bench: Bench) -> Iterator[Evidence]:
    judge, references = bench.judge_gradients.statistics, bench.reference_gradients
    for subject in bench.subjects:
        found = bench.gradients(subject).statistics
        for key, truth in judge.items():
            # A mean may be zero; what it is measured against is the spread of the values.
            deviations = np.sqrt(judge[key.replace("running_mean", "running_var")])
            yield compare_values(
                str(subject), key, found.get(key), truth,
                [item.statistics[key] for item in references], BOUNDS["statistics"],
                scale=norm(deviations) if key.endswith("running_mean") else None,
            )  # fmt: skip


def _onnx(bench: Bench) -> Iterator[Evidence]:
    truth = bench.judge_trace["classifier"].output
    reference = bench.reference_trace["classifier"].output
    for framework in (JUDGE, "mindspore"):
        predict = onnx_file.OnnxPredictor(bench.onnx_path(framework), bench.spec)
        found = predict(bench.pixels)
        subject = f"{framework} to ONNX"
        yield compare_values(subject, "classifier", found, truth, [reference], BOUNDS["onnx"])


def _predictions(bench: Bench) -> Iterator[Evidence]:
    if bench.spec.input_size[0] in (1, 3):
        paths = inputs.photographs()
        names = [path.name for path in paths]
        images = np.stack([load_input(path, bench.spec) for path in paths])
    else:
        images = bench.pixels
        names = [f"sample {index}" for index in range(len(images))]
    classes = class_names(bench.spec)
    truth = bench.judge.probe.trace(bench.judge_net, images)["classifier"].output.argmax(1)
    mode = bench.subjects[0].mode
    runtimes: dict[str, Callable[[Array], Array]] = {
        "torch eager": bench.judge.predict.Predictor(bench.spec, bench.state),
        f"mindspore {mode}": bench.candidate.predict.Predictor(bench.spec, bench.state, mode=mode),
        "ONNX Runtime": onnx_file.OnnxPredictor(bench.onnx_path(JUDGE), bench.spec),
    }
    for runtime, predict in runtimes.items():
        for name, logits, expected in zip(names, predict(images), truth, strict=True):
            found = int(logits.argmax())
            note = f"says {classes[found]}"
            if found != expected:
                note += f", expected {classes[expected]}"
            yield Evidence(runtime, name, float(found != expected), 0.0, note=note)


@dataclasses.dataclass(frozen=True, slots=True)
class _Level:
    title: str
    unit: str
    reason: str
    climb: Callable[[Bench], Iterable[Evidence]]


_SHARE = "share of numbers that differ"
_RELATIVE = "relative rms error"
_IDENTICAL = "a copy has no rounding: identical bits"

LEVELS: dict[str, _Level] = {
    "spec": _Level(
        "The spec is what it says it is", "relative difference",
        "counts and derivation are integer arithmetic", _spec,
    ),
    "parameters": _Level(
        "Weights and statistics arrive in each twin", _SHARE, _IDENTICAL, _parameters
    ),
    "pixels": _Level("Every runtime sees the same pixels", _SHARE, _IDENTICAL, _pixels),
    "layers-isolated": _Level(
        "Each layer alone, fed the judge's own input", _RELATIVE,
        BOUNDS["gate layer"].reason, _layers_isolated,
    ),
    "layers-chained": _Level(
        "Each layer within the whole net", _RELATIVE, BOUNDS["chained"].reason, _layers_chained
    ),
    "logits": _Level("Logits of the whole net", _RELATIVE, BOUNDS["logits"].reason, _logits),
    "loss": _Level("Training loss", "relative error", BOUNDS["loss"].reason, _loss),
    "gradients": _Level(
        "Gradient of every parameter", _RELATIVE, BOUNDS["gradient"].reason, _gradients
    ),
    "statistics": _Level(
        "Batch-norm statistics after a step", _RELATIVE, BOUNDS["statistics"].reason, _statistics
    ),
    "onnx": _Level("ONNX files from both twins", _RELATIVE, BOUNDS["onnx"].reason, _onnx),
    "predictions": _Level(
        "Top-1 of real photographs", "1 if another class",
        "rounding flips no prediction of a photograph", _predictions,
    ),
    "checkpoints": _Level(
        "Conversion in all six directions", _SHARE, _IDENTICAL, _checkpoints
    ),
}  # fmt: skip


def climb(
    spec: Spec,
    state: State | None = None,
    weights: str = "",
    command: str = "",
    levels: Sequence[str] = tuple(LEVELS),
    seed: int = 0,
    modes: Sequence[str] = (),
    fail_fast: bool = False,
    progress: Callable[[Rung], None] = lambda rung: None,
) -> Report:
    """Climbs the ladder.

    Args:
        spec: the net.
        state: canonical state, by default one made from ``seed``.
        weights: what to call the state in the report.
        command: the command line that climbs again, for the report.
        levels: which rungs, of :data:`LEVELS`; they are climbed in the ladder's order.
        seed: of pixels, labels and state.
        modes: of the MindSpore twin, "pynative" and "graph"; by default both.
        fail_fast: stop behind the first rung that fails.
        progress: is given each rung when it is done.

    Raises:
        TwinError: a framework is not installed.
        ValueError: no such level or mode, or no level at all.
    """
    unknown = sorted(set(levels) - set(LEVELS))
    if unknown or not levels:
        known = ", ".join(LEVELS)
        raise ValueError(f"levels are {', '.join(unknown) or 'none'}, expected some of {known}")
    start = time.perf_counter()
    rungs: list[Rung] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(spec, state, seed, modes, Path(folder))
        for name in LEVELS:
            if name not in levels:
                continue
            rungs.append(_climb_rung(name, bench))
            progress(rungs[-1])
            if fail_fast and not rungs[-1].passed:
                break
    weights = weights or f"made from seed {seed}"
    seconds = time.perf_counter() - start
    return Report(spec.name, weights, command, tuple(rungs), environment(), seconds)


def environment() -> dict[str, str]:
    """What numbers may depend on: versions, processor, system."""
    packages = ("torch", "mindspore", "onnxruntime", "onnx", "numpy", "pillow", "safetensors")
    found = {name: metadata.version(name) for name in packages}
    return {**found, "python": platform.python_version(), "machine": platform.platform()}


def _climb_rung(name: str, bench: Bench) -> Rung:
    level = LEVELS[name]
    start = time.perf_counter()
    evidence: list[Evidence] = []
    try:
        evidence.extend(level.climb(bench))
    except Exception as error:  # a broken twin can raise anything, and the report must say so
        evidence.append(_from_error(error, bench.spec))
    seconds = time.perf_counter() - start
    return Rung(name, level.title, level.unit, level.reason, tuple(evidence), seconds)


def _from_error(error: Exception, spec: Spec) -> Evidence:
    message = " ".join(str(error).split()) or type(error).__name__
    # The first key that the message names is the best guess of the place.
    places = [(message.find(key), key) for key in manifest(spec) if key in message]
    where = min(places)[1] if places else "?"
    note = f"{type(error).__name__}: {message}"
    return Evidence("", where, math.inf, 0.0, kind="error", note=note[:500])
