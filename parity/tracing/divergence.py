"""The first divergence: a failing run traced to the file, the definition and the layer.

The lowest check that failed says what kind of thing is off. From there the net is bisected to one
operation, training to one of its parts, and what both twins share to the function that made it;
where a twin raised an exception, its traceback tells.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tinynet.backend import FRAMEWORKS, REFERENCE, load_backend
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
from parity.context import NATIVE_SUFFIX, Candidate, Context
from parity.reference import oracles
from parity.reference.net import ReferenceNet
from parity.reference.structure import NET
from parity.results import CheckResult, Comparison, Divergence
from parity.tolerances.bounds import ROUNDOFF
from parity.tracing import bisection, reproduction, sources, training_trace
from parity.tracing.bisection import Suspect
from parity.tracing.sources import Source, in_twin

_LOOP = Source("tinynet/training/loop.py", "train")


def trace(
    context: Context, checks: Sequence[CheckResult], errors: Mapping[str, Exception]
) -> Divergence | None:
    """Traces the lowest check that failed; None where none did.

    Args:
        context: what was run on.
        checks: as they were run.
        errors: check's name -> the exception that ended it.
    """
    failed = next((check for check in checks if check.failures), None)
    if failed is None:
        return None
    try:
        suspect = _suspect(context, failed, errors.get(failed.name)) or _not_traced(failed)
    except Exception as error:  # what is broken enough to fail may raise when it is looked at
        suspect = _raised(context, failed, error) or _not_traced(failed, error)
    return Divergence(
        check=failed.name,
        where=suspect.where,
        operation=suspect.operation,
        direction=suspect.direction,
        framework=suspect.source.framework,
        file=suspect.source.file,
        definition=suspect.source.definition,
        error=suspect.comparison.error,
        noise=suspect.comparison.noise,
        bound=suspect.comparison.bound,
        explanation=suspect.explanation,
        script=reproduction.script(context, failed, suspect),
    )


def _suspect(context: Context, check: CheckResult, error: Exception | None) -> Suspect | None:
    first = check.failures[0]
    if error is not None and first.kind == "error":
        return _raised(context, check, error)
    return _TRACERS[check.name](context, check)


def _raised(context: Context, check: CheckResult, error: Exception) -> Suspect | None:
    source = sources.of_error(error, context.spec)
    if source is None:
        return None
    message = " ".join(str(error).split())
    # The first key that the message names is the best guess of the place.
    places = [(message.find(key), key) for key in manifest(context.spec) if key in message]
    where = min(places)[1] if places else source.definition
    return Suspect(
        where, NET, check.title, "", source, check.failures[0],
        f"{type(error).__name__} in {source.definition}: {message[:300]}",
    )  # fmt: skip


def _not_traced(check: CheckResult, error: Exception | None = None) -> Suspect:
    first = check.failures[0]
    explanation = "Every part is right for itself; what they make together is not."
    if error is not None:
        explanation = f"Not traced, because that raised {type(error).__name__}: {error}"
    return Suspect(first.where, NET, check.title, "", Source(""), first, explanation)


def _candidate(context: Context, comparison: Comparison) -> Candidate:
    every = (*context.candidates, *context.exact)
    return next((s for s in every if comparison.candidate.startswith(str(s))), context.first)


def _simple(
    check: CheckResult, source: Source, explanation: str, comparison: Comparison | None = None
) -> Suspect:
    first = comparison or check.failures[0]
    return Suspect(first.where, NET, check.title, "", source, first, explanation)


# Checks of what both twins share


def _spec(context: Context, check: CheckResult) -> Suspect:
    first = check.failures[0]
    shipped = [load_spec(name) for name in list_specs()]
    name = SPEC_DIRECTORY / f"{context.spec.name}.json"
    own = name.relative_to(sources.ROOT).as_posix() if name.is_file() else "the spec's own file"
    by_hand = Source(own, first.where)
    if first.candidate == "JSON round trip":
        source = Source("tinynet/spec.py", "parse_spec")
        return _simple(check, source, f"{first.where} does not survive being written and read.")
    if first.candidate == "blocks":
        source = Source("tinynet/spec.py", "Spec.blocks")
        return _simple(check, source, f"Both twins are built with {first.where} {first.note}.")
    if first.candidate == "layer table":
        wrong = [s.name for s in shipped if s.expected and count(s) != s.expected]
        if set(wrong) - {context.spec.name}:
            source = Source("tinynet/net/complexity.py", "count")
            return _simple(check, source, f"The layer table miscounts {len(wrong)} shipped specs.")
        return _simple(check, by_hand, f"Its layers do not count to {first.where}: {first.note}.")
    wrong = [
        s.name for s in shipped
        if s.derivation and s.name != context.spec.name
        and derive(load_spec(s.derivation.base), s.derivation.twist, s.name).stages != s.stages
    ]  # fmt: skip
    if not wrong and not context.spec.derivation:
        return _simple(check, by_hand, first.note)
    if not wrong:
        return _simple(check, by_hand, f"{first.where} is not what its twist makes: {first.note}.")
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
        check, source, f"{first.where} of this spec, and of others too, is derived as {first.note}."
    )


def _parameters(context: Context, check: CheckResult) -> Suspect:
    first = check.failures[0]
    framework = first.candidate.partition(",")[0]
    layer = first.where.rpartition(".")[0]
    if first.kind in ("missing", "shape"):
        source = sources.owner(framework, layer, context.spec)
        return _simple(check, source, f"The net is built with another {first.where}: {first.note}.")
    others = {
        item.candidate.partition(",")[0] for item in check.failures if item.where == first.where
    }
    if set(context.frameworks) <= others and len(context.frameworks) > 1:
        source = Source("tinynet/net/manifest.py", "check_state")
        return _simple(check, source, f"Both twins are given another {first.where}.")
    # Is it the net that has other numbers, or only what is read out of it?
    written = _computes_with(context, framework, layer)
    definition = "read_state" if written else "write_state"
    does = "reads" if written else "has"
    explanation = f"The net {does} other numbers for {first.where} than it was given."
    return _simple(check, in_twin(framework, "model", definition), explanation)


def _computes_with(context: Context, framework: str, layer: str) -> bool:
    definition = ReferenceNet(context.spec, context.state)
    item = definition.run(NET, context.pixels).layers[layer]
    twin = load_backend(framework)
    net = twin.probe.build(context.spec, context.state)
    given = item.input.astype(np.float32)
    found = twin.probe.isolated(net, {layer: given})[layer]
    truth = definition.run(layer, given).output
    return bool(np.abs(found - truth).max() <= 2**8 * ROUNDOFF * np.abs(truth).max())


def _pixels(context: Context, check: CheckResult) -> Suspect | None:
    first = check.failures[0]
    if first.candidate.endswith(", in training"):
        framework = first.candidate.partition(",")[0]
        definition = "Normalise" if first.where.startswith("pixels") else "to_device"
        source = in_twin(framework, "data", definition)
        return _simple(check, source, f"Training feeds the net other {first.where}.")
    of_pixels = {
        "pixel path": ("tinynet/data/preprocessing.py", "preprocess"),
        "training images": ("tinynet/data/augment.py", "augment"),
    }
    if first.candidate in of_pixels:
        source = Source(*of_pixels[first.candidate])
        return _simple(check, source, f"The {first.where} comes out otherwise: {first.note}.")
    return _forward(context, check)


def _schedule(context: Context, check: CheckResult) -> Suspect:
    first = check.failures[0]
    candidates = {item.candidate for item in check.failures}
    if first.candidate.endswith(", its loop"):
        return _loop(context, check, first)
    if {"samples", "masks"} <= candidates:
        source = Source("tinynet/utils/random_numbers.py", "uniform")
        return _simple(check, source, "All that is drawn at random is drawn otherwise.")
    of_places = {
        "number of steps": ("tinynet/training/schedule.py", "total_steps"),
        "batch-norm momentum": ("tinynet/recipe.py", "training_spec"),
    }
    of_candidates = {
        "recipe": ("tinynet/training/schedule.py", "learning_rate"),
        "average": ("tinynet/training/schedule.py", "ema_decay"),
        "drop-path": ("tinynet/net/drop_path.py", "drop_path_rates"),
        "samples": ("tinynet/data/sampling.py", "samples_at"),
        "masks": ("tinynet/data/masks.py", "draw_masks"),
        "initial weights": ("tinynet/net/initialise.py", "initial_state"),
    }
    found = of_places.get(first.where) or next(
        value for key, value in of_candidates.items() if first.candidate.startswith(key)
    )
    return _simple(check, Source(*found), f"{first.where} ({first.candidate}) {first.note}.")


def _loop(context: Context, check: CheckResult, first: Comparison) -> Suspect:
    # The rates are what the loops say they trained with.
    progress = context.start.progress
    expected = oracles.learning_rates(progress.recipe, progress.images, range(context.steps))
    peak = progress.recipe.schedule.learning_rate
    errors = [
        abs(learning_rate(progress.recipe, step, progress.images) - truth) / peak
        for step, truth in enumerate(expected)
    ]
    if max(errors) > 2 * ROUNDOFF:
        source = Source("tinynet/training/schedule.py", "learning_rate")
        return _simple(check, source, f"The {first.where} {first.note}.")
    explanation = f"The schedule is right, but the loop trains otherwise: the {first.where}"
    return _simple(check, _LOOP, f"{explanation} {first.note}.")


# Checks of the net


def _forward(context: Context, check: CheckResult) -> Suspect | None:
    return bisection.forward(context, _candidate(context, check.failures[0]))


def _loss(context: Context, check: CheckResult) -> Suspect | None:
    return bisection.loss(context, _candidate(context, check.failures[0]))


def _statistics(context: Context, check: CheckResult) -> Suspect | None:
    return bisection.statistics(context, _candidate(context, check.failures[0]))


def _gradients(context: Context, check: CheckResult) -> Suspect | None:
    return bisection.backward(context, _candidate(context, check.failures[0]))


# Checks of training


def _optimizer(context: Context, check: CheckResult) -> Suspect | None:
    first = check.failures[0]
    if first.candidate == "before the first step":
        source = Source("tinynet/checkpoints/training_state.py", "initial_training_state")
        return _simple(check, source, f"{first.where} starts with other numbers.")
    kind = first.candidate.rpartition(", ")[2]
    return training_trace.update(context, _candidate(context, first), kind, averages=False)


def _ema(context: Context, check: CheckResult) -> Suspect | None:
    kind = context.optimizers[0]
    return training_trace.update(
        context, _candidate(context, check.failures[0]), kind, averages=True
    )


def _trajectory(context: Context, check: CheckResult) -> Suspect | None:
    first = check.failures[0]
    found = training_trace.step(context, _candidate(context, first))
    if found:
        return found
    return _of_loop(check)


def _of_loop(check: CheckResult) -> Suspect:
    explanation = "Each step is right for itself, but the loop makes something else of them"
    return _simple(check, _LOOP, f"{explanation}: {check.failures[0].where}.")


def _resume(context: Context, check: CheckResult) -> Suspect | None:
    first = check.failures[0]
    framework = first.candidate.partition(" ")[0]
    start = inputs.training_state(context.spec, context.start.progress.recipe, context.state)
    # Under way, since what is wrong may be so for a run that goes on only.
    done = context.steps // 2
    progress = dataclasses.replace(start.progress, step=done, ema_updates=done)
    start = dataclasses.replace(start, progress=progress)
    # Of a run that moved, the framework that it moved to is the one that went on.
    candidates = [item.candidate.rpartition(" to ")[2] for item in check.failures]
    held = training_trace.held(candidates[0].partition(" ")[0], start)
    if held:
        return held
    suffixes = [".safetensors"] if first.candidate.endswith("resumed") else []
    suffixes = suffixes or [".safetensors", NATIVE_SUFFIX[framework]]
    for suffix in suffixes:
        path = context.folder / f"held{suffix}"
        save_training(path, start)
        found = (load_training_state if suffix == ".safetensors" else load_training)(path)
        lost = [
            name for name, value in start.tensors.items()
            if not np.array_equal(found.tensors.get(name, np.array(math.nan)), value)
        ]  # fmt: skip
        if lost or found.progress != start.progress:
            source = Source("tinynet/checkpoints/training_state.py", "pack_training")
            if suffix != ".safetensors":
                source = in_twin(framework, "native_files", "save_training")
            what = lost[0] if lost else "progress"
            comparison = dataclasses.replace(first, where=what)
            return _simple(check, source, f"A {suffix} file does not keep {what}.", comparison)
    return _of_loop(check)


# Checks of what leaves the twins


def _metrics(context: Context, check: CheckResult) -> Suspect | None:
    first = check.failures[0]
    framework = first.candidate.partition(" ")[0]
    runtimes = {item.candidate for item in check.failures if item.where == first.where}
    batching = "tinynet/data/evaluation_batches.py"
    if first.candidate == "batches":
        return _simple(check, Source(batching, "batches"), f"{first.note}.")
    if "processes" in first.candidate:
        return _simple(check, Source(batching, "RankShard"), f"{first.note}.")
    if ", its loop" in first.candidate:
        start = inputs.training_state(context.spec, context.start.progress.recipe, context.state)
        compared = training_trace.compared(framework, start)
        if compared:
            return compared
        source = Source("tinynet/training/loop.py", "evaluate")
        explanation = f"What the loop says of its validation set is not so: {first.where}."
        return _simple(check, source, f"{explanation} {first.note}".strip())
    if len(runtimes) > 2:
        source = Source("tinynet/training/evaluation.py", "evaluate")
        return _simple(
            check, source, f"Every runtime's answers are counted otherwise: {first.note}"
        )
    if framework not in FRAMEWORKS:
        # The other exporter's file, in the same runtime, tells file and runtime apart.
        off = {item.candidate for item in files.onnx(context) if not item.passed}
        if off == {f"{REFERENCE} to ONNX"} and len(context.frameworks) > 1:
            return _simple(check, in_twin(REFERENCE, "export", "export_onnx"), f"{first.note}.")
        return _simple(
            check, Source("tinynet/deploy/onnx_file.py", "OnnxPredictor"), f"{first.note}."
        )
    found = bisection.forward(context, _candidate(context, first))
    return found or _simple(
        check, in_twin(framework, "predict", "Predictor"),
        f"The net is right, but not what it is asked by for answers: {first.where}. {first.note}",
    )  # fmt: skip


def _onnx(context: Context, check: CheckResult) -> Suspect | None:
    first = check.failures[0]
    failing = {item.candidate.partition(" ")[0] for item in check.failures}
    found = bisection.forward(context, context.first)
    if found:
        return found
    if len(failing) > 1 and failing >= set(context.frameworks):
        source = Source("tinynet/deploy/onnx_file.py", "export")
        return _simple(check, source, "The files of both exporters answer otherwise.")
    source = in_twin(first.candidate.partition(" ")[0], "export", "export")
    return _simple(check, source, "The net is right, but not the file that is exported from it.")


def _checkpoints(context: Context, check: CheckResult) -> Suspect | None:
    for key, name in mindspore_keys(context.spec).items():
        if canonical_key(name) != key:
            source = Source("tinynet/net/manifest.py", "canonical_key")
            return _simple(check, source, f"{name}, MindSpore's name, does not lead back to {key}.")
    suffixes = (".safetensors", *(NATIVE_SUFFIX[name] for name in context.frameworks))
    original = Checkpoint(context.state, context.spec)
    for suffix, module in zip(suffixes, ("", *context.frameworks), strict=True):
        path = context.folder / f"alone{suffix}"
        source = Source("tinynet/checkpoints/files.py", "save_checkpoint")
        if module:
            source = in_twin(module, "native_files", "save_native")
        try:
            save_checkpoint(path, original)
            found = load_checkpoint(path, context.spec).state
        except ValueError as error:
            own = sources.of_error(error, context.spec)
            of_twin = own if own and own.framework == module else source
            return _simple(check, of_twin, f"A {suffix} file is not what was written: {error}")
        lost = [
            key for key, value in context.state.items()
            if not np.array_equal(found.get(key, np.array(math.nan)), value)
        ]  # fmt: skip
        if lost:
            comparison = dataclasses.replace(check.failures[0], where=lost[0])
            return _simple(check, source, f"A {suffix} file does not keep {lost[0]}.", comparison)
    source = Source("tinynet/checkpoints/conversion.py", "convert")
    return _simple(check, source, "Each format keeps the state; converting between them does not.")


_TRACERS: dict[str, Callable[[Context, CheckResult], Suspect | None]] = {
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
