"""Which part of training is off, when the net itself is right: optimizer, average, step or loop.

As in :mod:`parity.tracing.bisection` each twin is held against the definition on its own numbers:
a step from the state that it starts from there.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice, repeat
from typing import Any, NamedTuple

import numpy as np

from tinynet.backend import REFERENCE, load_backend
from tinynet.checkpoints.training_state import EMA_PREFIX, TrainingState
from tinynet.data.loader import TrainingBatch, load_batches
from tinynet.net.folding import deployed
from tinynet.net.manifest import TRAINED_ROLES, State, manifest
from tinynet.recipe import load_recipe
from tinynet.training.options import after_step
from tinynet.training.schedule import ema_decay, learning_rate

from parity import inputs
from parity.context import LABEL_SMOOTHING, Candidate, Context
from parity.distances import Array, compare_bits, compare_within, relative_error
from parity.reference import operations
from parity.reference import training as defined_training
from parity.reference.net import ReferenceNet
from parity.reference.structure import NET
from parity.results import Comparison
from parity.tolerances.bounds import ROUNDOFF
from parity.tracing import sources
from parity.tracing.bisection import Suspect

# Optimizer -> a recipe that has it, its class in a twin.
RECIPES = {"rmsprop": "imagenet", "sgd": "imagenet_resnet"}
_CLASSES = {"rmsprop": "RMSProp", "sgd": "SGD"}
# Of the step on gradients that are given.
RATE, DECAY = 0.01, 0.9
# What a first step does not show, a second one does: gradients that were not cleared, for one.
_STEPS = 2


class _LayerTrace(NamedTuple):
    framework: str
    precision: str
    device: str = "cpu"
    compiled: bool = False

    def __str__(self) -> str:
        return f"{self.framework} in {self.precision}"


def update(context: Context, candidate: Candidate, kind: str, averages: bool) -> Suspect | None:
    """What is off in a step on gradients that are given.

    Args:
        context: the context.
        candidate: the way to run the net that failed.
        kind: of optimizer.
        averages: look at the average and not at weights and slots.
    """
    start = inputs.training_state(context.spec, load_recipe(RECIPES[kind]), context.state)
    gradients = given_gradients(context)
    truth = defined_training.update(start, [gradients], [RATE], [DECAY])
    baseline = _updated(_LayerTrace(REFERENCE, "float32"), start, gradients)
    layer_traces = (
        _LayerTrace(REFERENCE, "float64"), _LayerTrace(candidate.framework, "float32",
        candidate.device),
    )  # fmt: skip
    quantity = "average" if averages else "optimizer"
    for layer_trace in layer_traces:
        lost = _held(layer_trace, start)
        if lost:
            return lost
        after = _updated(layer_trace, start, gradients)
        off: dict[str, Comparison] = {}
        for name, value in _chosen(truth, averages).items():
            noise = relative_error(baseline.tensors[name], value)
            comparison = _compare(
                context, layer_trace, name, after.tensors.get(name), value, noise, quantity
            )
            if not comparison.passed:
                off[name] = comparison
        if off:
            of = _average if averages else _optimizer
            return of(layer_trace, kind, start, gradients, after, off)
    return None


def given_gradients(context: Context) -> State:
    """Gradients to update on: those of the definition for the context's batch, as float32."""

    def upstream(logits: Array) -> Array:
        return operations.cross_entropy_vjp(1.0, logits, context.labels, LABEL_SMOOTHING)

    net = ReferenceNet(context.spec, context.state)
    found = net.run(NET, context.training_pixels, upstream, training=True).parameters
    return {key: value.astype(np.float32) for key, value in found.items()}


def _updated(layer_trace: _LayerTrace, start: TrainingState, gradients: State) -> TrainingState:
    probe = load_backend(layer_trace.framework).probe
    return probe.update(
        start, [gradients], [RATE], [DECAY], layer_trace.precision, layer_trace.device
    )


def _step(layer_trace: _LayerTrace, start: TrainingState) -> Any:
    twin = load_backend(layer_trace.framework)
    group = twin.distributed.join(layer_trace.device)
    precision, compiled = layer_trace.precision, layer_trace.compiled
    return twin.step.TrainStep(start, group, precision=precision, compiled=compiled)


def held(framework: str, start: TrainingState) -> Suspect | None:
    """What a step does not hold as the training state has it that it is made from."""
    return _held(_LayerTrace(framework, "float32"), start)


def _held(layer_trace: _LayerTrace, start: TrainingState) -> Suspect | None:
    # Does a step begin where it is told to?
    held = _step(layer_trace, start).read(start.progress).tensors
    for name, truth in start.tensors.items():
        found = held.get(name)
        if found is None or not np.array_equal(found, truth):
            found = None if found is None else found.astype(truth.dtype)
            return Suspect(
                name, NET, "state that a step starts from", "",
                sources.in_twin(layer_trace.framework, "step", "TrainStep"),
                compare_bits(str(layer_trace), name, found, truth),
                f"A step does not hold {name} as the training state that it was made from has it.",
            )  # fmt: skip
    return None


def compared(framework: str, start: TrainingState) -> Suspect | None:
    """What a net that a step evaluates has not as the training state has it."""
    layer_trace = _LayerTrace(framework, "float32")
    step = _step(layer_trace, start)
    read_state = load_backend(framework).model.read_state
    for ema, state in ((False, start.weights), (True, start.ema or {})):
        found = read_state(step.predictor(ema).net)
        for name, truth in deployed(start.progress.spec, state)[1].items():
            if not np.array_equal(found[name], truth):
                kind = "averaged" if ema else "raw"
                return Suspect(
                    name, NET, "state that is evaluated", "",
                    sources.in_twin(framework, "step", "TrainStep"),
                    compare_bits(str(layer_trace), name, found[name], truth),
                    f"A step has another {name} evaluated than the {kind} one.",
                )  # fmt: skip
    return None


def _chosen(state: TrainingState, averages: bool) -> State:
    return {
        name: value
        for name, value in state.tensors.items()
        if name.startswith(EMA_PREFIX) == averages
    }


def _optimizer(
    layer_trace: _LayerTrace, kind: str, start: TrainingState, gradients: State, after:
    TrainingState, off: dict[str, Comparison],
) -> Suspect:  # fmt: skip
    where, comparison = next(iter(off.items()))
    entries = manifest(start.progress.spec)
    trained = [key for key, entry in entries.items() if entry.role in TRAINED_ROLES]
    wrong = [key for key in trained if key in off]
    source = sources.in_twin(layer_trace.framework, "optim", _CLASSES[kind])
    explanation = f"On gradients that are given, {kind} moves {len(off)} tensors wrongly."
    if 0 < len(wrong) < len(trained) and _decays_wrongly(start, gradients, after, wrong):
        source = sources.in_twin(layer_trace.framework, "step", "TrainStep")
        explanation = (
            f"{len(wrong)} tensors, {where} for one, are decayed and should not be, or the "
            "other way round: the optimizer is told wrongly which ones decay."
        )
    return Suspect(where, NET, kind, "", source, comparison, explanation)


def _decays_wrongly(
    start: TrainingState, gradients: State, after: TrainingState, wrong: list[str]
) -> bool:
    # Decay is the gradient plus its share of the weight: take it from those that have it, give it
    # to those that have not, and see whether that is what happened.
    weight_decay = start.progress.recipe.optimizer.weight_decay
    entries = manifest(start.progress.spec)
    changed = dict(gradients)
    for key in wrong:
        decays = entries[key].role in ("conv_weight", "linear_weight")
        share = (-1.0 if decays else 1.0) * weight_decay
        changed[key] = gradients[key] + share * start.weights[key].astype(np.float64)
    told = defined_training.update(start, [changed], [RATE], [DECAY])
    return all(
        relative_error(after.weights[key], told.weights[key])
        < relative_error(told.weights[key], start.weights[key]) * 2.0**-8
        for key in wrong
    )


def _average(
    layer_trace: _LayerTrace, kind: str, start: TrainingState, gradients: State, after:
    TrainingState, off: dict[str, Comparison],
) -> Suspect:  # fmt: skip
    where, comparison = next(iter(off.items()))
    average = _step(layer_trace, start).average
    every = average is not None and len(average.averages) == len(start.weights)
    module, definition = ("optim", "Average") if every else ("step", "TrainStep")
    unmoved = [name for name in off if np.array_equal(after.tensors[name], start.tensors[name])]
    explanation = f"{len(off)} of {len(start.weights)} averages do not go their share of the way."
    if len(unmoved) == len(off):
        explanation = f"{len(off)} of {len(start.weights)} averages stay where they were."
    return Suspect(
        where, NET, "exponential moving average", "",
        sources.in_twin(layer_trace.framework, module, definition), comparison, explanation,
    )  # fmt: skip


# A step of a run


def step(context: Context, candidate: Candidate) -> Suspect | None:
    """What is off in the first steps of the stretch of training, else in the loop around them."""
    compiled = candidate.mode == "graph"
    baseline = _LayerTrace(REFERENCE, "float32")
    reference = _LayerTrace(REFERENCE, "float64")
    own_trace = _LayerTrace(candidate.framework, "float32", candidate.device, compiled)
    with closing(_batches(context)) as batches:
        given = list(islice(batches, _STEPS))
    noise = (
        {name: relative_error(*pair) for name, pair in parts.items()}
        for parts in _transitions(context, baseline, given)
    )
    # Each step when it is asked for: whole steps by definition are what takes the time here.
    for layer_trace, noises in ((reference, repeat(dict[str, float]())), (own_trace, noise)):
        steps = zip(_transitions(context, layer_trace, given), noises, strict=False)
        for number, (parts, usual) in enumerate(steps):
            for name, (found, truth) in parts.items():
                own = usual.get(name, 0.0)
                comparison = _compare(context, layer_trace, name, found, truth, own, "trajectory")
                if not comparison.passed:
                    return _part_of_step(
                        context, layer_trace, given[number], number, name, comparison
                    )
    return None


def _batches(context: Context) -> Generator[TrainingBatch, None, None]:
    progress = context.start.progress
    return load_batches(
        context.source, progress.spec, progress.recipe, progress.seed,
        first_step=0, last_step=_STEPS,
    )  # fmt: skip


def _transitions(
    context: Context, layer_trace: _LayerTrace, batches: Sequence[TrainingBatch]
) -> Iterator[dict[str, tuple[Array, Array]]]:
    # Of each step: what it is asked for -> what it did from where it was, and what it had to do.
    own = _step(layer_trace, context.start)
    before = context.start
    for batch in batches:
        progress = before.progress
        recipe = progress.recipe
        rate = learning_rate(recipe, progress.step, progress.images) or RATE
        decay = ema_decay(recipe.ema, progress.ema_updates) if recipe.ema else None
        loss = own([batch], rate, decay).tolist()[0]
        after = own.read(after_step(progress))
        truth = defined_training.step(before, batch, rate, decay)
        parts = {"loss": (np.array(loss), np.array(truth.loss))}
        told, wanted = _kinds(after), _kinds(truth.state)
        parts |= {name: (told[name], wanted[name]) for name in wanted}
        yield parts
        before = after


def _kinds(state: TrainingState) -> dict[str, Array]:
    # The moves of the weights are joined: one alone may be all rounding.
    entries = manifest(state.progress.spec)
    trained = [key for key, entry in entries.items() if entry.role in TRAINED_ROLES]
    statistics = [key for key in entries if key not in trained]
    groups: dict[str, list[Array]] = {
        "statistics": [state.weights[key] for key in statistics],
        "weights": [state.weights[key] for key in trained],
    }
    for slot, arrays in state.slots.items():
        groups[f"slot {slot}"] = [arrays[key] for key in trained]
    if state.ema is not None:
        groups["averaged statistics"] = [state.ema[key] for key in statistics]
        groups["averaged weights"] = [state.ema[key] for key in trained]
    return {
        name: np.concatenate([array.ravel() for array in arrays]) for name, arrays in groups.items()
    }


def _part_of_step(
    context: Context,
    layer_trace: _LayerTrace,
    batch: TrainingBatch,
    number: int,
    name: str,
    found: Comparison,
) -> Suspect:
    def blamed(operation: str, module: str, definition: str, explanation: str) -> Suspect:
        source = sources.in_twin(layer_trace.framework, module, definition)
        where = f"{name} of step {number + 1}"
        return Suspect(where, NET, operation, "", source, found, explanation)

    def goes_well(**changes: Any) -> bool:
        # The same step without one of its parts.
        own = batch._replace(**changes)
        found, truth = next(_transitions(context, layer_trace, [own]))[name]
        return _compare(context, layer_trace, name, found, truth, ROUNDOFF, "trajectory").passed

    if number == 0 and name == "loss":
        if batch.drop_path is not None and goes_well(drop_path=None):
            return blamed(
                "drop-path", "blocks", "drop_path",
                "Without drop-path the same step is right: its factors are applied otherwise.",
            )  # fmt: skip
        if batch.dropout is not None and goes_well(dropout=None):
            return blamed(
                "dropout", "model", "TinyNet",
                "Without dropout the same step is right: its factors are applied otherwise.",
            )  # fmt: skip
    return blamed(
        f"{name} of a training step", "step", "TrainStep",
        f"Net, loss, optimizer and average are right each for itself, but in step {number + 1} "
        f"the {name} {'is' if name == 'loss' else 'are'} not what they make together.",
    )  # fmt: skip


def _compare(
    context: Context, layer_trace: _LayerTrace, where: str, found: Array | None, truth: Array,
    noise: float, quantity: str,
) -> Comparison:  # fmt: skip
    if layer_trace.precision == "float64":
        return compare_within(str(layer_trace), where, found, truth, ROUNDOFF, ROUNDOFF, quantity)
    bound = context.bound(quantity)
    noise = bound.noise(noise)
    return compare_within(
        str(layer_trace), where, found, truth, noise, bound.factor * noise, quantity
    )
