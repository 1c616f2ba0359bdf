"""Rungs of training: the optimizer and the average alone, whole stretches of it, resuming."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinynet.checkpoints.training_state import initial_training_state
from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.recipe import load_recipe

from parity.checks.kinks import past_kinks
from parity.context import Bench
from parity.distances import compare_bits, compare_values
from parity.results import Evidence, Series
from parity.trajectory import compare_trajectories

# Source: TensorFlow's RMSPropOptimizer, whose mean squares start at one.
_FIRST_SLOTS = {"mean_square": 1.0, "momentum": 0.0}


def optimizer(bench: Bench) -> Iterator[Evidence]:
    """Weights and slots behind steps on gradients that are given, by each kind of optimizer."""
    yield from _first_slots(bench)
    entries = manifest(bench.spec)
    trained = [key for key, entry in entries.items() if entry.role in TRAINED_ROLES]
    bound = bench.bound("optimizer")
    for kind in bench.optimizers:
        judge, references = bench.judge_update(kind), bench.reference_updates(kind)
        found = bench.update(kind)
        for slot in judge.slots:
            for key in trained:
                yield compare_values(
                    f"{bench.first}, {kind}", f"{slot} of {key}", found.slots[slot].get(key),
                    judge.slots[slot][key], [item.slots[slot][key] for item in references], bound,
                )  # fmt: skip
        for key in trained:
            yield compare_values(
                f"{bench.first}, {kind}", key, found.weights.get(key),
                judge.weights[key], [item.weights[key] for item in references], bound,
            )  # fmt: skip


def _first_slots(bench: Bench) -> Iterator[Evidence]:
    # Both twins are told what the slots hold before the first step.
    start = initial_training_state(bench.spec, load_recipe("imagenet"), 0, 1, "", bench.state)
    for slot, arrays in start.slots.items():
        values = np.concatenate([array.ravel() for array in arrays.values()])
        truth = np.full_like(values, _FIRST_SLOTS[slot])
        yield compare_bits("before the first step", slot, values, truth)


def ema(bench: Bench) -> Iterator[Evidence]:
    """The average of every weight and every batch-norm statistic behind the same steps."""
    kind = bench.optimizers[0]
    judge, found = (update(kind).ema or {} for update in (bench.judge_update, bench.update))
    references = [update.ema or {} for update in bench.reference_updates(kind)]
    bound = bench.bound("average")
    for key, truth in judge.items():
        own = [reference[key] for reference in references]
        yield compare_values(str(bench.first), key, found.get(key), truth, own, bound)
    bench.release("update", "given_gradients")


@past_kinks
def trajectory(bench: Bench) -> Iterator[Evidence | Series]:
    """Some steps by each twin's own training loop, inside the envelope of float32 runs."""
    truth, references = bench.judge_course, bench.envelope
    yield Series("float64 judge", tuple(truth.losses.tolist()))
    for sample, run in enumerate(references):
        yield Series(f"PyTorch float32, sample {sample}", tuple(run.losses.tolist()))
    for subject in dict.fromkeys((bench.reference, *bench.subjects)):
        found = bench.course(subject).trajectory
        yield Series(str(subject), tuple(found.losses.tolist()))
        bound = bench.bound("trajectory", subject)
        yield from compare_trajectories(str(subject), found, truth, references, bound)


@past_kinks
def resume(bench: Bench) -> Iterator[Evidence | Series]:
    """A run that stopped and went on: the same bits in one framework, inside the envelope where it
    moved to the other.
    """
    first, bound = bench.first, bench.bound("trajectory")
    for subject in dict.fromkeys((bench.reference, first)):
        whole, resumed = bench.course(subject), bench.resumed(subject, subject)
        expected, found = whole.trajectory.state.tensors, resumed.trajectory.state.tensors
        for name, truth in expected.items():
            yield compare_bits(f"{subject}, resumed", name, found.get(name), truth)
    if first.framework == bench.reference.framework:
        return
    for before, after in ((bench.reference, first), (first, bench.reference)):
        moved = bench.resumed(before, after).trajectory
        yield from compare_trajectories(
            f"{before} to {after}", moved, bench.judge_course, bench.envelope, bound
        )
    bench.release("envelope", "course", "half")
