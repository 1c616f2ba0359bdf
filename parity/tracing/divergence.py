"""The first divergence: a failing climb traced to the file, the definition and the layer.

The lowest rung that failed says what kind of thing is off. From there the net is bisected to one
operation, training to one of its parts, and what both twins share to the function that made it;
where a twin raised an exception, its traceback tells.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tinynet.backend import FRAMEWORKS, JUDGE, load_backend
from tinynet.checkpoints.files import (
    Checkpoint,
    load_checkpoint,
    load_training,
    save_checkpoint,
    save_training,
)
from tinynet.checkpoints.training_state import load_training_state
from tinynet.net.complexity import count
from tinynet.net.manifest import canonical_key, manifest, mindspore_keys
from tinynet.net.twist import derive
from tinynet.spec import SPEC_DIRECTORY, list_specs, load_spec
from tinynet.training.schedule import learning_rate

from parity import inputs
from parity.checks import files
from parity.context import NATIVE_SUFFIX, Bench, Subject
from parity.reference import oracles
from parity.reference.net import NET, Definition
from parity.results import Divergence, Evidence, Rung
from parity.tolerances.bounds import ROUNDOFF
from parity.tracing import bisection, reproduction, sources, training_trace
from parity.tracing.bisection import Culprit
from parity.tracing.sources import Source, in_twin


def trace(
    bench: Bench, rungs: Sequence[Rung], errors: Mapping[str, Exception]
) -> Divergence | None:
    """Traces the lowest rung that failed; None where none did.

    Args:
        bench: what was climbed on.
        rungs: as they were climbed.
        errors: rung's name -> the exception that ended it.
    """
    failed = next((rung for rung in rungs if rung.failures), None)
    if failed is None:
        return None
    try:
        culprit = _culprit(bench, failed, errors.get(failed.name)) or _not_traced(failed)
    except Exception as error:  # what is broken enough to fail may raise when it is looked at
        culprit = _raised(bench, failed, error) or _not_traced(failed, error)
    return Divergence(
        rung=failed.name,
        where=culprit.where,
        operation=culprit.operation,
        direction=culprit.direction,
        framework=culprit.source.framework,
        file=culprit.source.file,
        definition=culprit.source.definition,
        error=culprit.evidence.error,
        noise=culprit.evidence.noise,
        bound=culprit.evidence.bound,
        explanation=culprit.explanation,
        script=reproduction.script(bench, failed, culprit),
    )


def _culprit(bench: Bench, rung: Rung, error: Exception | None) -> Culprit | None:
    first = rung.failures[0]
    if error is not None and first.kind == "error":
        return _raised(bench, rung, error)
    return _TRACERS[rung.name](bench, rung)


def _raised(bench: Bench, rung: Rung, error: Exception) -> Culprit | None:
    source = sources.of_error(error, bench.spec)
    if source is None:
        return None
    message = " ".join(str(error).split())
    # The first key that the message names is the best guess of the place.
    places = [(message.find(key), key) for key in manifest(bench.spec) if key in message]
    where = min(places)[1] if places else source.definition
    return Culprit(
        where, NET, rung.title, "", source, rung.failures[0],
        f"{type(error).__name__} in {source.definition}: {message[:300]}",
    )  # fmt: skip


def _not_traced(rung: Rung, error: Exception | None = None) -> Culprit:
    first = rung.failures[0]
    explanation = "Every part is right for itself; what they make together is not."
    if error is not None:
        explanation = f"Not traced, because that raised {type(error).__name__}: {error}"
    return Culprit(first.where, NET, rung.title, "", Source(""), first, explanation)


def _subject(bench: Bench, evidence: Evidence) -> Subject:
    every = (*bench.subjects, *bench.exact)
    return next((s for s in every if evidence.subject.startswith(str(s))), bench.first)


def _simple(
    rung: Rung, source: Source, explanation: str, evidence: Evidence | None = None
) -> Culprit:
    first = evidence or rung.failures[0]
    return Culprit(first.where, NET, rung.title, "", source, first, explanation)


# Rungs of what both twins share


def _spec(bench: Bench, rung: Rung) -> Culprit:
    first = rung.failures[0]
    shipped = [load_spec(name) for name in list_specs()]
    name = SPEC_DIRECTORY / f"{bench.spec.name}.json"
    own = name.relative_to(sources.ROOT).as_posix() if name.is_file() else "the spec's own file"
    by_hand = Source(own, first.where)
    if first.subject == "JSON round trip":
        source = Source("tinynet/spec.py", "parse_spec")
        return _simple(rung, source, f"{first.where} does not survive being written and read.")
    if first.subject == "blocks":
        source = Source("tinynet/spec.py", "Spec.blocks")
        return _simple(rung, source, f"Both twins are built with {first.where} {first.note}.")
    if first.subject == "layer table":
        wrong = [s.name for s in shipped if s.expected and count(s) != s.expected]
        if set(wrong) - {bench.spec.name}:
            source = Source("tinynet/net/complexity.py", "count")
            return _simple(rung, source, f"The layer table miscounts {len(wrong)} shipped specs.")
        return _simple(rung, by_hand, f"Its layers do not count to {first.where}: {first.note}.")
    wrong = [
        s.name for s in shipped
        if s.derivation and s.name != bench.spec.name
        and derive(load_spec(s.derivation.base), s.derivation.twist, s.name).stages != s.stages
    ]  # fmt: skip
    if not wrong and not bench.spec.derivation:
        return _simple(rung, by_hand, first.note)
    if not wrong:
        return _simple(rung, by_hand, f"{first.where} is not what its twist makes: {first.note}.")
    rounding = {
        "repeats": "round_repeats",
        "out_channels": "round_channels",
        "input_size": "round_resolution",
    }
    found = next((value for key, value in rounding.items() if key in first.where), None)
    source = Source("tinynet/net/twist.py", "derive")
    if found:
        source = Source("tinynet/net/rounding.py", found)
    return _simple(
        rung, source, f"{first.where} of this spec, and of others too, is derived as {first.note}."
    )


def _parameters(bench: Bench, rung: Rung) -> Culprit:
    first = rung.failures[0]
    framework = first.subject.partition(",")[0]
    layer = first.where.rpartition(".")[0]
    if first.kind in ("missing", "shape"):
        source = sources.owner(framework, layer, bench.spec)
        return _simple(rung, source, f"The net is built with another {first.where}: {first.note}.")
    others = {item.subject.partition(",")[0] for item in rung.failures if item.where == first.where}
    if set(bench.frameworks) <= others and len(bench.frameworks) > 1:
        source = Source("tinynet/net/manifest.py", "check_state")
        return _simple(rung, source, f"Both twins are given another {first.where}.")
    # Is it the net that has other numbers, or only what is read out of it?
    written = _computes_with(bench, framework, layer)
    definition = "read_state" if written else "write_state"
    does = "reads" if written else "has"
    explanation = f"The net {does} other numbers for {first.where} than it was given."
    return _simple(rung, in_twin(framework, "state", definition), explanation)


def _computes_with(bench: Bench, framework: str, layer: str) -> bool:
    definition = Definition(bench.spec, bench.state)
    item = definition.run(NET, bench.pixels).layers[layer]
    twin = load_backend(framework)
    net = twin.probe.build(bench.spec, bench.state)
    given = item.input.astype(np.float32)
    found = twin.probe.isolated(net, {layer: given})[layer]
    truth = definition.run(layer, given).output
    return bool(np.abs(found - truth).max() <= 2**8 * ROUNDOFF * np.abs(truth).max())


def _pixels(bench: Bench, rung: Rung) -> Culprit | None:
    first = rung.failures[0]
    if first.subject.endswith(", in training"):
        framework = first.subject.partition(",")[0]
        definition = "Normalise" if first.where.startswith("pixels") else "to_device"
        source = in_twin(framework, "data", definition)
        return _simple(rung, source, f"Training feeds the net other {first.where}.")
    of_pixels = {
        "pixel path": ("tinynet/data/preprocessing.py", "preprocess"),
        "training images": ("tinynet/data/augment.py", "augment"),
    }
    if first.subject in of_pixels:
        source = Source(*of_pixels[first.subject])
        return _simple(rung, source, f"The {first.where} comes out otherwise: {first.note}.")
    return _forward(bench, rung)


def _schedule(bench: Bench, rung: Rung) -> Culprit:
    first = rung.failures[0]
    subjects = {item.subject for item in rung.failures}
    if first.subject.endswith(", its loop"):
        return _loop(bench, rung, first)
    if {"samples", "masks"} <= subjects:
        source = Source("tinynet/utils/random_numbers.py", "uniform")
        return _simple(rung, source, "All that is drawn at random is drawn otherwise.")
    of_places = {
        "number of steps": ("tinynet/training/schedule.py", "total_steps"),
        "batch-norm momentum": ("tinynet/recipe.py", "training_spec"),
    }
    of_subjects = {
        "recipe": ("tinynet/training/schedule.py", "learning_rate"),
        "average": ("tinynet/training/schedule.py", "ema_decay"),
        "drop-path": ("tinynet/training/schedule.py", "drop_path_rates"),
        "samples": ("tinynet/data/sampling.py", "samples_at"),
        "masks": ("tinynet/data/masks.py", "draw_masks"),
        "initial weights": ("tinynet/net/initialise.py", "initial_state"),
    }
    found = of_places.get(first.where) or next(
        value for key, value in of_subjects.items() if first.subject.startswith(key)
    )
    return _simple(rung, Source(*found), f"{first.where} ({first.subject}) {first.note}.")


def _loop(bench: Bench, rung: Rung, first: Evidence) -> Culprit:
    # The rates are what the loops say they trained with.
    progress = bench.start.progress
    expected = oracles.learning_rates(progress.recipe, progress.images, range(bench.steps))
    peak = progress.recipe.schedule.learning_rate
    errors = [
        abs(learning_rate(progress.recipe, step, progress.images) - truth) / peak
        for step, truth in enumerate(expected)
    ]
    if max(errors) > 2 * ROUNDOFF:
        source = Source("tinynet/training/schedule.py", "learning_rate")
        return _simple(rung, source, f"The {first.where} {first.note}.")
    loops = {item.subject for item in rung.failures if item.subject.endswith(", its loop")}
    every = {str(subject) for subject in dict.fromkeys((bench.reference, *bench.subjects))}
    if len(loops) == len(every) > 1:
        return _simple(
            rung, Source("tinynet/training/run.py", "Run"), "Every loop trains with other rates."
        )
    framework = first.subject.partition(" ")[0]
    return _simple(
        rung, in_twin(framework, "train", "train"),
        f"The schedule is right, but the loop trains otherwise: the {first.where} {first.note}.",
    )  # fmt: skip


# Rungs of the net


def _forward(bench: Bench, rung: Rung) -> Culprit | None:
    return bisection.forward(bench, _subject(bench, rung.failures[0]))


def _loss(bench: Bench, rung: Rung) -> Culprit | None:
    return bisection.loss(bench, _subject(bench, rung.failures[0]))


def _statistics(bench: Bench, rung: Rung) -> Culprit | None:
    return bisection.statistics(bench, _subject(bench, rung.failures[0]))


def _gradients(bench: Bench, rung: Rung) -> Culprit | None:
    return bisection.backward(bench, _subject(bench, rung.failures[0]))


# Rungs of training


def _optimizer(bench: Bench, rung: Rung) -> Culprit | None:
    first = rung.failures[0]
    if first.subject == "before the first step":
        source = Source("tinynet/checkpoints/training_state.py", "initial_training_state")
        return _simple(rung, source, f"{first.where} starts with other numbers.")
    kind = first.subject.rpartition(", ")[2]
    return training_trace.update(bench, _subject(bench, first), kind, averages=False)


def _ema(bench: Bench, rung: Rung) -> Culprit | None:
    kind = bench.optimizers[0]
    return training_trace.update(bench, _subject(bench, rung.failures[0]), kind, averages=True)


def _trajectory(bench: Bench, rung: Rung) -> Culprit | None:
    first = rung.failures[0]
    found = training_trace.step(bench, _subject(bench, first))
    if found:
        return found
    failing = {item.subject for item in rung.failures}
    return _of_loops(bench, rung, failing)


def _of_loops(bench: Bench, rung: Rung, failing: set[str]) -> Culprit:
    first = rung.failures[0]
    frameworks = {name for name in FRAMEWORKS if any(s.startswith(name) for s in failing)}
    if len(frameworks) > 1:
        return _simple(
            rung, Source("tinynet/training/run.py", "Run"),
            "Each step is right for itself in either twin; what both loops share is not.",
        )  # fmt: skip
    return _simple(
        rung, in_twin(frameworks.pop(), "train", "train"),
        f"Each step is right for itself, but the loop makes something else of them: {first.where}.",
    )  # fmt: skip


def _resume(bench: Bench, rung: Rung) -> Culprit | None:
    first = rung.failures[0]
    framework = first.subject.partition(" ")[0]
    start = inputs.training_state(bench.spec, bench.start.progress.recipe, bench.state)
    # Under way, since what is wrong may be so for a run that goes on only.
    done = bench.steps // 2
    progress = dataclasses.replace(start.progress, step=done, ema_updates=done)
    start = dataclasses.replace(start, progress=progress)
    # Of a run that moved, the framework that it moved to is the one that went on.
    subjects = [item.subject.rpartition(" to ")[2] for item in rung.failures]
    held = training_trace.held(subjects[0].partition(" ")[0], start)
    if held:
        return held
    suffixes = [".safetensors"] if first.subject.endswith("resumed") else []
    suffixes = suffixes or [".safetensors", NATIVE_SUFFIX[framework]]
    for suffix in suffixes:
        path = bench.folder / f"held{suffix}"
        save_training(path, start)
        found = (load_training_state if suffix == ".safetensors" else load_training)(path)
        lost = [
            name for name, value in start.tensors.items()
            if not np.array_equal(found.tensors.get(name, np.array(math.nan)), value)
        ]  # fmt: skip
        if lost or found.progress != start.progress:
            source = Source("tinynet/checkpoints/training_state.py", "pack_training")
            if suffix != ".safetensors":
                source = in_twin(framework, "state", "save_training")
            what = lost[0] if lost else "progress"
            evidence = dataclasses.replace(first, where=what)
            return _simple(rung, source, f"A {suffix} file does not keep {what}.", evidence)
    return _of_loops(bench, rung, set(subjects))


# Rungs of what leaves the twins


def _metrics(bench: Bench, rung: Rung) -> Culprit | None:
    first = rung.failures[0]
    framework = first.subject.partition(" ")[0]
    runtimes = {item.subject for item in rung.failures if item.where == first.where}
    if first.subject == "batches":
        return _simple(rung, Source("tinynet/data/image_folder.py", "batches"), f"{first.note}.")
    if "processes" in first.subject:
        return _simple(rung, Source("tinynet/data/sources.py", "RankShard"), f"{first.note}.")
    if ", its loop" in first.subject:
        if len(runtimes) > 1 and len({s.partition(" ")[0] for s in runtimes}) > 1:
            return _simple(
                rung, Source("tinynet/training/evaluation.py", "tally"), f"{first.note}."
            )
        start = inputs.training_state(bench.spec, bench.start.progress.recipe, bench.state)
        judged = training_trace.judged(framework, start)
        if judged:
            return judged
        source = in_twin(framework, "train", "evaluate")
        explanation = f"What the loop says of its validation set is not so: {first.where}."
        return _simple(rung, source, f"{explanation} {first.note}".strip())
    if len(runtimes) > 2:
        source = Source("tinynet/training/evaluation.py", "evaluate")
        return _simple(rung, source, f"Every runtime's answers are counted otherwise: {first.note}")
    if framework not in FRAMEWORKS:
        # The other exporter's file, in the same runtime, tells file and runtime apart.
        off = {item.subject for item in files.onnx(bench) if not item.passed}
        if off == {f"{JUDGE} to ONNX"} and len(bench.frameworks) > 1:
            return _simple(rung, in_twin(JUDGE, "export", "export_onnx"), f"{first.note}.")
        return _simple(
            rung, Source("tinynet/deploy/onnx_file.py", "OnnxPredictor"), f"{first.note}."
        )
    found = bisection.forward(bench, _subject(bench, first))
    return found or _simple(
        rung, in_twin(framework, "predict", "Predictor"),
        f"The net is right, but not what it is asked by for answers: {first.where}. {first.note}",
    )  # fmt: skip


def _onnx(bench: Bench, rung: Rung) -> Culprit | None:
    first = rung.failures[0]
    failing = {item.subject.partition(" ")[0] for item in rung.failures}
    found = bisection.forward(bench, bench.first)
    if found:
        return found
    if len(failing) > 1 and failing >= set(bench.frameworks):
        source = Source("tinynet/deploy/onnx_file.py", "export")
        return _simple(rung, source, "The files of both exporters answer otherwise.")
    source = in_twin(first.subject.partition(" ")[0], "export", "export")
    return _simple(rung, source, "The net is right, but not the file that is exported from it.")


def _checkpoints(bench: Bench, rung: Rung) -> Culprit | None:
    for key, name in mindspore_keys(bench.spec).items():
        if canonical_key(name) != key:
            source = Source("tinynet/net/manifest.py", "canonical_key")
            return _simple(rung, source, f"{name}, MindSpore's name, does not lead back to {key}.")
    suffixes = (".safetensors", *(NATIVE_SUFFIX[name] for name in bench.frameworks))
    original = Checkpoint(bench.state, bench.spec)
    for suffix, module in zip(suffixes, ("", *bench.frameworks), strict=True):
        path = bench.folder / f"alone{suffix}"
        source = Source("tinynet/checkpoints/files.py", "save_checkpoint")
        if module:
            source = in_twin(module, "state", "save_native")
        try:
            save_checkpoint(path, original)
            found = load_checkpoint(path, bench.spec).state
        except ValueError as error:
            own = sources.of_error(error, bench.spec)
            of_twin = own if own and own.framework == module else source
            return _simple(rung, of_twin, f"A {suffix} file is not what was written: {error}")
        lost = [
            key for key, value in bench.state.items()
            if not np.array_equal(found.get(key, np.array(math.nan)), value)
        ]  # fmt: skip
        if lost:
            evidence = dataclasses.replace(rung.failures[0], where=lost[0])
            return _simple(rung, source, f"A {suffix} file does not keep {lost[0]}.", evidence)
    source = Source("tinynet/checkpoints/conversion.py", "convert")
    return _simple(rung, source, "Each format keeps the state; converting between them does not.")


_TRACERS: dict[str, Callable[[Bench, Rung], Culprit | None]] = {
    "spec": _spec,
    "parameters": _parameters,
    "pixels": _pixels,
    "layers-isolated": _forward,
    "layers-chained": _forward,
    "logits": _forward,
    "loss": _loss,
    "gradients-isolated": _gradients,
    "gradients-chained": _gradients,
    "statistics": _statistics,
    "schedule": _schedule,
    "optimizer": _optimizer,
    "ema": _ema,
    "trajectory": _trajectory,
    "metrics": _metrics,
    "onnx": _onnx,
    "checkpoints": _checkpoints,
    "resume": _resume,
}
