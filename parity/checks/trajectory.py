"""A stretch of training by each twin's own loop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import Context
from parity.distances import Array
from parity.results import CheckResult, Comparison, Series
from parity.tracing import training_trace
from parity.tracing.suspect import Suspect
from parity.trajectory import Trajectory, compare_trajectories


class TrajectoryCheck(MeasuredCheck):
    """Takes some steps by each twin's own training loop, inside the envelope of float32 runs."""

    name = "trajectory"
    title = "A stretch of training by each twin's own loop"
    unit = "relative error"
    needs = "images"
    quantities = ("trajectory",)
    by_chance = True
    drawing = ""
    recorded_with = "training"

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        return _tensors(context.course(candidate).trajectory)

    def truths(self, context: Context) -> dict[str, Array]:
        return _tensors(context.reference_course)

    def baselines(self, context: Context) -> list[dict[str, Array]]:
        return [_tensors(run) for run in context.envelope]

    def compare(self, context: Context) -> Iterator[Comparison | Series]:
        truth, baselines = context.reference_course, context.envelope
        yield Series("float64 reference", tuple(truth.losses.tolist()))
        for sample, run in enumerate(baselines):
            yield Series(f"PyTorch float32, sample {sample}", tuple(run.losses.tolist()))
        for candidate in context.with_baseline:
            title, found = str(candidate), context.course(candidate).trajectory
            yield Series(title, tuple(found.losses.tolist()))
            against = truth, baselines, context.bound("trajectory", candidate)
            yield from compare_trajectories(title, found, *against, **candidate.origin())

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        candidate = context.candidate_of(result.failures[0])
        found = training_trace.step(context, candidate)
        return found or training_trace.loop_suspect(result)


def _tensors(run: Trajectory) -> dict[str, Array]:
    losses = {f"loss of step {step + 1}": np.array(loss) for step, loss in enumerate(run.losses)}
    return losses | run.tensors_by_kind
