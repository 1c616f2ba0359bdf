"""What each rung of the ladder compares: a function from the bench to evidence.

Within a rung evidence comes in the order data (or gradients) flow, so that what fails first is
nearest to the cause.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
from PIL import Image

from tinynet.complexity import count
from tinynet.derive import derive
from tinynet.documents import format_path
from tinynet.images import load_input, preprocess
from tinynet.labels import class_names
from tinynet.manifest import TRAINED_ROLES, manifest
from tinynet.spec import Spec, format_spec, list_specs, load_spec, parse_spec, spec_document

from parity import inputs, onnx_file
from parity.bench import Bench, Subject
from parity.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from parity.compare import Array, compare_bits, compare_values, norm
from parity.convert import convert
from parity.evidence import Evidence
from parity.tolerance import BOUNDS, Bound
from parity.twins import JUDGE

# A norm below this share of the whole gradient's is rounding of an analytically zero gradient,
# such as a bias's whose output goes into a batch norm.
ZERO_GRADIENT = 1e-6
# SHA-256 of the float32 pixels of `_test_card` at TinyNet-E's preprocessing; equal to timm
# 1.0.31's create_transform(is_training=False) on the same image.
TEST_CARD_SHA256 = "cc807855a0bf10150414d847169f759ab7a3daa29b5153cbbc4a37e8ac25f5cb"


def spec(bench: Bench) -> Iterator[Evidence]:
    """A spec survives its own JSON, counts to what it expects, and is what its twist makes."""
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


def pixels(bench: Bench) -> Iterator[Evidence]:
    """The pixel path gives timm's pixels, and every runtime's first layer sees the pixels given."""
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


def parameters(bench: Bench) -> Iterator[Evidence]:
    """Each twin, built from the state, gives the same state back."""
    for subject in (Subject(JUDGE, bench.judge.modes.MODES[0]), bench.subjects[0]):
        found = bench.twin(subject).state.read_state(bench.build(subject))
        for key, truth in bench.state.items():
            yield compare_bits(subject.framework, key, found.get(key), truth)


def checkpoints(bench: Bench) -> Iterator[Evidence]:
    """A state survives each conversion between the three file formats."""
    original = Checkpoint(bench.state, bench.spec)
    for source, destination in itertools.permutations((".safetensors", ".pth", ".ckpt"), 2):
        from_path = bench.folder / f"from{source}"
        to_path = bench.folder / f"to{destination}"
        subject = f"{source} to {destination}"
        try:
            save_checkpoint(from_path, original)
            convert(from_path, to_path, bench.spec)
            found = load_checkpoint(to_path, bench.spec).state
        except ValueError as error:
            yield Evidence(subject, "whole file", math.inf, 0.0, kind="error", note=str(error))
            continue
        for key, truth in bench.state.items():
            yield compare_bits(subject, key, found.get(key), truth)


def layers_isolated(bench: Bench) -> Iterator[Evidence]:
    """Each layer alone, fed the same input; a layer that only one side has fails."""
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


def layers_chained(bench: Bench) -> Iterator[Evidence]:
    """Each layer within the whole net, with the errors of all before it."""
    for subject in bench.subjects:
        found = bench.trace(subject)
        for name, truth in bench.judge_trace.items():
            output = found[name].output if name in found else None
            yield compare_values(
                str(subject), name, output, truth.output, bench.reference_outputs[name],
                BOUNDS["chained"],
            )  # fmt: skip


def logits(bench: Bench) -> Iterator[Evidence]:
    """The whole net, and once more with sigmoid and SiLU computed in float64."""
    truth = bench.judge_trace["classifier"].output
    references = bench.reference_outputs["classifier"]
    for subject in (*bench.subjects, bench.exact):
        bound = BOUNDS["logits, exact gates" if subject.exact_gates else "logits"]
        found = bench.trace(subject)["classifier"].output
        yield compare_values(str(subject), "classifier", found, truth, references, bound)


def loss(bench: Bench) -> Iterator[Evidence]:
    """The training loss of one batch."""
    truth = np.array(bench.judge_gradients.loss)
    references = [np.array(item.loss) for item in bench.reference_gradients]
    for subject in bench.subjects:
        found = np.array(bench.gradients(subject).loss)
        yield compare_values(str(subject), "loss", found, truth, references, BOUNDS["loss"])


def gradients(bench: Bench) -> Iterator[Evidence]:
    """The gradient of every parameter, from the loss back to the input."""
    judge, references = bench.judge_gradients, bench.reference_gradients
    entries = manifest(bench.spec).items()
    trained = [key for key, entry in entries if entry.role in TRAINED_ROLES]
    kinked = bench.spec.activation == "relu6"
    bound = BOUNDS["gradient, kinked" if kinked else "gradient"]
    whole = float(np.sqrt(sum(norm(value) ** 2 for value in judge.parameters.values())))
    for subject in bench.subjects:
        found = bench.gradients(subject)
        # From the loss back to the input, the way gradients flow.
        for key in reversed(trained):
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


def statistics(bench: Bench) -> Iterator[Evidence]:
    """Running means and variances behind one training step."""
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


def onnx(bench: Bench) -> Iterator[Evidence]:
    """Logits of the ONNX files that both frameworks export."""
    truth = bench.judge_trace["classifier"].output
    references = bench.reference_outputs["classifier"]
    for framework in (JUDGE, "mindspore"):
        predict = onnx_file.OnnxPredictor(bench.onnx_path(framework), bench.spec)
        found = predict(bench.pixels)
        subject = f"{framework} to ONNX"
        yield compare_values(subject, "classifier", found, truth, references, BOUNDS["onnx"])


def predictions(bench: Bench) -> Iterator[Evidence]:
    """The first class of real photographs, in three runtimes."""
    if bench.spec.input_size[0] in (1, 3):
        paths = inputs.photographs()
        names = [path.name for path in paths]
        images = np.stack([load_input(path, bench.spec) for path in paths])
    else:
        images = bench.pixels
        names = [f"sample {index}" for index in range(len(images))]
    classes = class_names(bench.spec)
    # One at a time: a trace holds every layer's activations, gigabytes for all photographs.
    traces = (bench.judge.probe.trace(bench.judge_net, image[None]) for image in images)
    truth = [int(trace["classifier"].output.argmax()) for trace in traces]
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
