"""Checks of training: the optimizer and the average alone, whole stretches of it, resuming."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinynet.checkpoints.training_state import initial_training_state
from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.recipe import load_recipe

from parity.checks.kinks import past_kinks
from parity.context import Context
from parity.distances import compare_bits, compare_values
from parity.results import Comparison, Series
from parity.trajectory import compare_trajectories

# Source: TensorFlow's RMSPropOptimizer, whose mean squares start at one.
_FIRST_SLOTS = {"mean_square": 1.0, "momentum": 0.0}


def optimizer(context: Context) -> Iterator[Comparison]:
    """Weights and slots behind steps on gradients that are given, by each kind of optimizer."""
    yield from _first_slots(context)
    entries = manifest(context.spec)
    trained = [key for key, entry in entries.items() if entry.role in TRAINED_ROLES]
    bound = context.bound("optimizer")
    for kind in context.optimizers:
        reference, baselines = context.reference_update(kind), context.baseline_updates(kind)
        found = context.update(kind)
        for slot in reference.slots:
            for key in trained:
                yield compare_values(
                    f"{context.first}, {kind}", f"{slot} of {key}", found.slots[slot].get(key),
                    reference.slots[slot][key], [item.slots[slot][key] for item in baselines],
                    bound,
                )  # fmt: skip
        for key in trained:
            yield compare_values(
                f"{context.first}, {kind}", key, found.weights.get(key),
                reference.weights[key], [item.weights[key] for item in baselines], bound,
            )  # fmt: skip


def _first_slots(context: Context) -> Iterator[Comparison]:
    # Both twins are told what the slots hold before the first step.
    start = initial_training_state(context.spec, load_recipe("imagenet"), 0, 1, "", context.state)
    for slot, arrays in start.slots.items():
        values = np.concatenate([array.ravel() for array in arrays.values()])
        truth = np.full_like(values, _FIRST_SLOTS[slot])
        yield compare_bits("before the first step", slot, values, truth)


def ema(context: Context) -> Iterator[Comparison]:
    """The average of every weight and every batch-norm statistic behind the same steps."""
    kind = context.optimizers[0]
    reference, found = (
        update(kind).ema or {} for update in (context.reference_update, context.update)
    )
    baselines = [update.ema or {} for update in context.baseline_updates(kind)]
    bound = context.bound("average")
    for key, truth in reference.items():
        own = [baseline[key] for baseline in baselines]
        yield compare_values(str(context.first), key, found.get(key), truth, own, bound)
    context.release("update", "given_gradients")


@past_kinks
def trajectory(context: Context) -> Iterator[Comparison | Series]:
    """Some steps by each twin's own training loop, inside the envelope of float32 runs."""
    truth, baselines = context.reference_course, context.envelope
    yield Series("float64 judge", tuple(truth.losses.tolist()))
    for sample, run in enumerate(baselines):
        yield Series(f"PyTorch float32, sample {sample}", tuple(run.losses.tolist()))
    for candidate in dict.fromkeys((context.baseline, *context.candidates)):
        found = context.course(candidate).trajectory
        yield Series(str(candidate), tuple(found.losses.tolist()))
        bound = context.bound("trajectory", candidate)
        yield from compare_trajectories(str(candidate), found, truth, baselines, bound)


@past_kinks
def resume(context: Context) -> Iterator[Comparison | Series]:
    """A run that stopped and went on: the same bits in one framework, inside the envelope where it
    moved to the other.
    """
    first, bound = context.first, context.bound("trajectory")
    for candidate in dict.fromkeys((context.baseline, first)):
        whole, resumed = context.course(candidate), context.resumed(candidate, candidate)
        expected, found = whole.trajectory.state.tensors, resumed.trajectory.state.tensors
        for name, truth in expected.items():
            yield compare_bits(f"{candidate}, resumed", name, found.get(name), truth)
    if first.framework == context.baseline.framework:
        return
    for before, after in ((context.baseline, first), (first, context.baseline)):
        moved = context.resumed(before, after).trajectory
        yield from compare_trajectories(
            f"{before} to {after}", moved, context.reference_course, context.envelope, bound
        )
    context.release("envelope", "course", "half")
