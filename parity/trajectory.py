"""Whole stretches of training: the same steps in either twin, compared with float64.

The reference is PyTorch in float64. What float32 may lose is spanned by PyTorch's own float32 runs,
each from weights one rounding away from the start: that is the envelope.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, redirect_stderr
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from tinynet.backend import REFERENCE, load_backend
from tinynet.checkpoints.training_state import TrainingState, load_training_state
from tinynet.data.loader import load_batches
from tinynet.data.open_data import Data
from tinynet.data.sources import Source
from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.training import loop
from tinynet.training.options import Options, Scores, after_step
from tinynet.training.schedule import ema_decay, learning_rate

from parity.distances import Array, compare_values
from parity.inputs import moved
from parity.results import Comparison, Origin
from parity.tolerances.bounds import BOUNDS, Bound


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Losses (steps,) in float64, and the state after the last step."""

    losses: Array
    state: TrainingState

    @cached_property
    def tensors_by_kind(self) -> dict[str, Array]:
        """The state's, see :func:`tensors_by_kind`."""
        return tensors_by_kind(self.state)


def tensors_by_kind(state: TrainingState) -> dict[str, Array]:
    """Joins all tensors of a kind, since a single small one may be off by chance."""
    entries = manifest(state.progress.spec)
    trained = [key for key, entry in entries.items() if entry.role in TRAINED_ROLES]
    statistics = [key for key in entries if key not in trained]
    found = {"weights": (state.weights, trained), "statistics": (state.weights, statistics)}
    if state.ema is not None:
        found["averaged weights"] = state.ema, trained
        found["averaged statistics"] = state.ema, statistics
    found |= {f"slot {slot}": (arrays, trained) for slot, arrays in state.slots.items()}
    return {
        name: np.concatenate([arrays[key].ravel() for key in keys])
        for name, (arrays, keys) in found.items()
    }


def follow(
    framework: str,
    start: TrainingState,
    source: Source,
    steps: int,
    accumulation: int = 1,
    **settings: Any,
) -> Trajectory:
    """Takes some steps, each in ``accumulation`` parts, on one process, by the loop's own step.

    The settings are ``precision`` and ``compiled`` of the twin's ``TrainStep``.
    """
    twin = load_backend(framework)
    progress = start.progress
    recipe = progress.recipe
    step = twin.step.TrainStep(start, twin.distributed.join("cpu"), accumulation, **settings)
    losses: list[float] = []
    first, last = progress.step, progress.step + steps
    about = source, progress.spec, recipe, progress.seed
    batches = load_batches(*about, first_step=first, last_step=last, accumulation=accumulation)
    with closing(batches):
        for _ in range(steps):
            report = step(
                list(islice(batches, accumulation)),
                learning_rate(recipe, progress.step, progress.images),
                ema_decay(recipe.ema, progress.ema_updates) if recipe.ema else None,
            )
            losses.append(report.tolist()[0])
            progress = after_step(progress)
    return Trajectory(np.array(losses), step.read(progress))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A run by a twin's own training loop: what it did, the learning rates that its log tells, its
    last evaluation (None where it stopped before one), and its last checkpoint.
    """

    trajectory: Trajectory
    rates: tuple[float, ...]
    scores: Scores | None
    checkpoint: Path


def train(
    framework: str,
    start: TrainingState,
    source: Source,
    folder: Path,
    stop_after: int | None = None,
    compiled: bool = False,
    device: str = "cpu",
    precision: str = "float32",
    validation: Source | None = None,
) -> Course:
    """Trains by a twin's own loop, as ``train.py`` does: log, evaluation and checkpoints included.

    It ends after the step ``stop_after``, by default the recipe's last, with an evaluation on
    ``validation``, by default the images to train on.

    Raises:
        KeyboardInterrupt: a signal stopped it.
        ValueError: what the loop raises.
    """
    first = start.progress.step
    options = Options(
        folder,
        device,
        precision,
        compiled,
        log_every=1,
        stop_after=stop_after,
        evaluate_every=1_000_000,
        command="the parity suite",
    )
    data = Data(source, validation or source, start.progress.spec)
    with redirect_stderr(io.StringIO()):  # the loop tells people what it does
        outcome = loop.train(load_backend(framework), start, data, options)
    if outcome.stopped_by:
        raise KeyboardInterrupt
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    steps = [r for r in records if r["kind"] == "train" and r["step"] > first]
    losses, rates = (np.array([r[name] for r in steps]) for name in ("loss", "learning_rate"))
    done = Trajectory(losses, load_training_state(outcome.checkpoint))
    return Course(done, tuple(rates.tolist()), outcome.scores, outcome.checkpoint)


def envelope(
    start: TrainingState, source: Source, steps: int, samples: int, accumulation: int = 1
) -> list[Trajectory]:
    """Makes float32 runs of the baseline, each from a start one rounding away."""
    starts = (moved_start(start, sample) for sample in range(samples))
    return [follow(REFERENCE, each, source, steps, accumulation) for each in starts]


def compare_trajectories(
    candidate: str,
    found: Trajectory,
    truth: Trajectory,
    baselines: Sequence[Trajectory],
    bound: Bound = BOUNDS["trajectory"],
    **origin: Unpack[Origin],
) -> Iterator[Comparison]:
    """Compares a run with the reference's, bounded by the envelope.

    Losses are compared step by step; the envelope of a step is the widest so far, since chance
    brings the baselines together now and then. States are compared by kind of tensor: weights,
    batch-norm statistics, their averages, and each of the optimizer's slots.
    """
    widest = loss_noise(truth, baselines)
    for index, loss in enumerate(truth.losses):
        where = f"loss of step {index + 1}"
        noise = bound.noise(float(widest[index]), where)
        error = float(abs(found.losses[index] - loss) / loss)
        limit, quantity = bound.factor * noise, bound.quantity
        yield Comparison(candidate, where, error, limit, noise, quantity=quantity, **origin)
    for name, values in truth.tensors_by_kind.items():
        against = values, [run.tensors_by_kind[name] for run in baselines], bound
        yield compare_values(candidate, name, found.tensors_by_kind[name], *against, **origin)


def loss_noise(truth: Trajectory, baselines: Sequence[Trajectory]) -> Array:
    """Returns the relative width of the envelope at each step: the widest so far."""
    distances = np.array([np.abs(run.losses - truth.losses) for run in baselines])
    return np.maximum.accumulate(distances.max(axis=0)) / truth.losses


def moved_start(start: TrainingState, sample: int) -> TrainingState:
    """Returns the start, its weights moved by up to one float32 rounding; sample 0 is not."""
    if sample == 0:
        return start
    weights = {k: moved(array, "envelope", sample, k) for k, array in start.weights.items()}
    return dataclasses.replace(start, weights=weights)
