"""Which part of training is off, when the net itself is right: optimizer, average, step or loop.

As in :mod:`parity.tracing.bisection` each twin is compared with the definition on its own numbers:
a step from the state that it starts from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice, repeat
from typing import Any

import numpy as np

from tinynet.backend import load_backend
from tinynet.checkpoints.training_state import EMA_PREFIX, TrainingState
from tinynet.data.loader import TrainingBatch, load_batches
from tinynet.net.folding import deployed
from tinynet.net.manifest import TRAINED_ROLES, State, manifest
from tinynet.recipe import load_recipe
from tinynet.training import loop
from tinynet.training.options import after_step
from tinynet.training.schedule import ema_decay, learning_rate

from parity import inputs
from parity.candidates import BASELINE, TRUTH, Candidate
from parity.context import LABEL_SMOOTHING, OPTIMIZERS, Context
from parity.distances import Array, compare_bits, compare_within, first_lost, relative_error
from parity.reference import operations
from parity.reference import training as defined_training
from parity.reference.net import ReferenceNet
from parity.reference.structure import NET
from parity.results import CheckResult, Comparison
from parity.tolerances.bounds import ROUNDOFF
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect
from parity.trajectory import tensors_by_kind

_CLASSES = {"rmsprop": "RMSProp", "sgd": "SGD"}
# Of the step on given gradients.
RATE, DECAY = 0.01, 0.9
# What a first step does not show, a second one does: gradients that were not cleared, for one.
_STEPS = 2


def update(context: Context, candidate: Candidate, kind: str, averages: bool) -> Suspect | None:
    """Finds what is off in a step of a kind of optimizer on given gradients: in the average, or in
    weights and slots.
    """
    start = inputs.training_state(context.spec, load_recipe(OPTIMIZERS[kind]), context.state)
    gradients = given_gradients(context)
    truth = defined_training.update(start, [gradients], [RATE], [DECAY])
    baseline = _updated(BASELINE, start, gradients)
    chosen = [name for name in truth.tensors if name.startswith(EMA_PREFIX) == averages]
    quantity = "average" if averages else "optimizer"
    # Weights and slots are float32 in every precision.
    for each in (TRUTH, dataclasses.replace(candidate, precision="float32")):
        lost = held(each, start)
        if lost:
            return lost
        after = _updated(each, start, gradients)
        off: dict[str, Comparison] = {}
        for name in chosen:
            value, found = truth.tensors[name], after.tensors.get(name)
            noise = relative_error(baseline.tensors[name], value)
            comparison = _compare(context, each, name, found, value, noise, quantity)
            if not comparison.passed:
                off[name] = comparison
        if off:
            if averages:
                return _average(each, start, after, off)._replace(optimizer=kind)
            return _optimizer(each, kind, start, gradients, after, off)
    return None


def given_gradients(context: Context) -> State:
    """Computes gradients to update on: the definition's for the context's batch, as float32."""

    def upstream(logits: Array) -> Array:
        return operations.cross_entropy_vjp(1.0, logits, context.labels, LABEL_SMOOTHING)

    net = ReferenceNet(context.spec, context.state)
    found = net.run(NET, context.training_pixels, upstream, training=True).parameters
    return {key: value.astype(np.float32) for key, value in found.items()}


def _updated(candidate: Candidate, start: TrainingState, gradients: State) -> TrainingState:
    probe = load_backend(candidate.framework).probe
    settings = candidate.precision, candidate.device
    return probe.update(start, [gradients], [RATE], [DECAY], *settings)


def _step(candidate: Candidate, start: TrainingState, compiled: bool = False) -> Any:
    twin = load_backend(candidate.framework)
    group = twin.distributed.join(candidate.device)
    return twin.step.TrainStep(start, group, precision=candidate.precision, compiled=compiled)


def _train_step(candidate: Candidate) -> Source:
    return Source.of(load_backend(candidate.framework).step.TrainStep)


def held(candidate: Candidate, start: TrainingState) -> Suspect | None:
    """Finds what a step does not hold as the training state has it that it is made from."""
    found = _step(candidate, start).read(start.progress).tensors
    explanation = "A step does not hold {} as the training state that it was made from has it."
    what = "state that a step starts from"
    return _first_lost(candidate, what, found, start.tensors, explanation)


def evaluated(candidate: Candidate, start: TrainingState) -> Suspect | None:
    """Finds what a net that a step evaluates does not have as the training state has it."""
    step, twin = _step(candidate, start), load_backend(candidate.framework)
    for kind, state in (("raw", start.weights), ("averaged", start.ema or {})):
        found = twin.model.read_state(step.predictor(kind == "averaged").net)
        truths = deployed(start.progress.spec, state)[1]
        explanation = f"A step has another {{}} evaluated than the {kind} one."
        lost = _first_lost(candidate, "state that is evaluated", found, truths, explanation)
        if lost:
            return lost
    return None


def _first_lost(
    candidate: Candidate, what: str, found: State, truths: State, explanation: str
) -> Suspect | None:
    name = first_lost(found, truths)
    if name is None:
        return None
    value, truth = found.get(name), truths[name]
    value = None if value is None else value.astype(truth.dtype)
    comparison = compare_bits(str(candidate), name, value, truth)
    return Suspect(name, what, _train_step(candidate), comparison, explanation.format(name))


def _optimizer(
    candidate: Candidate,
    kind: str,
    start: TrainingState,
    gradients: State,
    after: TrainingState,
    off: dict[str, Comparison],
) -> Suspect:
    where, comparison = next(iter(off.items()))
    entries = manifest(start.progress.spec).items()
    trained = [key for key, entry in entries if entry.role in TRAINED_ROLES]
    wrong = [key for key in trained if key in off]
    source = Source.of(getattr(load_backend(candidate.framework).optim, _CLASSES[kind]))
    explanation = f"On given gradients, {kind} moves {len(off)} tensors wrongly."
    if 0 < len(wrong) < len(trained) and _decays_wrongly(start, gradients, after, wrong):
        source = _train_step(candidate)
        explanation = (
            f"{len(wrong)} tensors, {where} for one, are decayed and should not be, or the "
            "other way round: the optimizer is told wrongly which ones decay."
        )
    return Suspect(where, kind, source, comparison, explanation, optimizer=kind)


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
    candidate: Candidate, start: TrainingState, after: TrainingState, off: dict[str, Comparison]
) -> Suspect:
    where, comparison = next(iter(off.items()))
    average = _step(candidate, start).average
    every = average is not None and len(average.averages) == len(start.weights)
    optim = load_backend(candidate.framework).optim
    source = Source.of(optim.Average) if every else _train_step(candidate)
    unmoved = [name for name in off if np.array_equal(after.tensors[name], start.tensors[name])]
    stay = len(unmoved) == len(off)
    does = "stay where they were" if stay else "do not go their share of the way"
    explanation = f"{len(off)} of {len(start.weights)} averages {does}."
    return Suspect(where, "exponential moving average", source, comparison, explanation)


# A step of a run, and the loop around it


def loop_suspect(result: CheckResult) -> Suspect:
    """Blames the loop for what fails although each step is right."""
    first = result.failures[0]
    explanation = "Each step is right for itself, but the loop makes something else of them"
    source = Source.of(loop.train)
    return Suspect(first.where, result.title, source, first, f"{explanation}: {first.where}.")


def step(context: Context, candidate: Candidate) -> Suspect | None:
    """Finds what is off in the first steps of the stretch of training."""
    progress = context.start.progress
    settings = progress.spec, progress.recipe, progress.seed
    with closing(load_batches(context.source, *settings, first_step=0, last_step=_STEPS)) as given:
        batches = list(islice(given, _STEPS))
    noise = (
        {name: relative_error(*pair) for name, pair in parts.items()}
        for parts in _transitions(context, BASELINE, batches)
    )
    own = dataclasses.replace(candidate, precision="float32")
    # Each step when it is asked for: whole steps by definition are what takes the time here.
    for each, noises in ((TRUTH, repeat(dict[str, float]())), (own, noise)):
        steps = zip(_transitions(context, each, batches), noises, strict=False)
        for number, (parts, usual) in enumerate(steps):
            for name, pair in parts.items():
                comparison = _compare(context, each, name, *pair, usual.get(name, 0.0))
                if not comparison.passed:
                    batch = batches[number]
                    return _part_of_step(context, each, batch, number, name, comparison)
    return None


def _transitions(
    context: Context, candidate: Candidate, batches: Sequence[TrainingBatch]
) -> Iterator[dict[str, tuple[Array, Array]]]:
    # For each step: the quantity -> what the step made of its start, and what it must make of it.
    own = _step(candidate, context.start, compiled=candidate.mode == "graph")
    before = context.start
    for batch in batches:
        progress = before.progress
        recipe = progress.recipe
        rate = learning_rate(recipe, progress.step, progress.images) or RATE
        decay = ema_decay(recipe.ema, progress.ema_updates) if recipe.ema else None
        loss = own([batch], rate, decay).tolist()[0]
        after = own.read(after_step(progress))
        truth = defined_training.step(before, batch, rate, decay)
        told, wanted = _kinds(after), _kinds(truth.state)
        parts = {name: (told[name], wanted[name]) for name in wanted}
        yield {"loss": (np.array(loss), np.array(truth.loss)), **parts}
        before = after


def _kinds(state: TrainingState) -> dict[str, Array]:
    # In the order in which a step makes them.
    found = tensors_by_kind(state)
    slots = [name for name in found if name.startswith("slot")]
    order = ("statistics", "weights", *slots, "averaged statistics", "averaged weights")
    return {name: found[name] for name in order if name in found}


def _part_of_step(
    context: Context,
    candidate: Candidate,
    batch: TrainingBatch,
    number: int,
    name: str,
    found: Comparison,
) -> Suspect:
    where, twin = f"{name} of step {number + 1}", load_backend(candidate.framework)
    masks = {"drop_path": twin.blocks.drop_path, "dropout": twin.model.TinyNet}
    for part, definition in masks.items() if number == 0 and name == "loss" else ():
        if getattr(batch, part) is None:
            continue
        without = batch._replace(**{part: None})
        pair = next(_transitions(context, candidate, [without]))[name]
        if _compare(context, candidate, name, *pair, ROUNDOFF).passed:
            what = part.replace("_", "-")
            explanation = f"Without {what} the same step is right: its factors are misapplied."
            return Suspect(where, what, Source.of(definition), found, explanation)
    explanation = (
        f"Net, loss, optimizer and average are right each for itself, but in step {number + 1} "
        f"the {name} {'is' if name == 'loss' else 'are'} not what they make together."
    )
    source = _train_step(candidate)
    return Suspect(where, f"{name} of a training step", source, found, explanation)


def _compare(
    context: Context,
    candidate: Candidate,
    where: str,
    found: Array | None,
    truth: Array,
    noise: float,
    quantity: str = "trajectory",
) -> Comparison:
    bound = context.bound(quantity)
    noise = ROUNDOFF if candidate == TRUTH else bound.noise(noise)
    limit = ROUNDOFF if candidate == TRUTH else bound.factor * noise
    return compare_within(str(candidate), where, found, truth, noise, limit, quantity)
