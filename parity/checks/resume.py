"""Runs that were stopped and resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tinynet.backend import load_backend
from tinynet.checkpoints.files import load_training, save_training
from tinynet.checkpoints.training_state import TrainingState, load_training_state, pack_training

from parity import inputs
from parity.candidates import BASELINE, Candidate
from parity.checks.base import Check
from parity.context import Context
from parity.context_training import NATIVE_SUFFIX, STEPS
from parity.distances import compare_bits, first_lost
from parity.results import CheckResult, Comparison
from parity.tolerances.bounds import BOUNDS
from parity.tracing import training_trace
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect
from parity.trajectory import compare_trajectories


class ResumeCheck(Check):
    """Stops runs half-way: identical bits in one framework, inside the envelope where one moved."""

    name = "resume"
    title = "Runs that stopped and went on"
    unit = "share of numbers that differ, or relative error"
    reason = f"in one framework identical bits; moved: {BOUNDS['trajectory'].reason}"
    needs = "images"
    quantities = ("trajectory",)
    by_chance = True
    drawing = ""
    releases = ("envelope", "course", "half")

    def compare(self, context: Context) -> Iterator[Comparison]:
        first, bound = context.first, context.bound("trajectory")
        for candidate in dict.fromkeys((BASELINE, first)):
            expected = context.course(candidate).trajectory.state.tensors
            found = context.resumed(candidate, candidate).trajectory.state.tensors
            for name, truth in expected.items():
                title = f"{candidate}, resumed"
                yield compare_bits(title, name, found.get(name), truth, **candidate.origin())
        if first.framework == BASELINE.framework:
            return
        for before, after in ((BASELINE, first), (first, BASELINE)):
            moved = context.resumed(before, after).trajectory
            against = context.reference_course, context.envelope, bound
            origin = after.origin(moved_from=before.framework)
            yield from compare_trajectories(f"{before} to {after}", moved, *against, **origin)

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        first = result.failures[0]
        # A run that moved is resumed by the framework that it moved to.
        went_on = Candidate(first.framework, first.mode)
        found = training_trace.held(went_on, _under_way(context)) or self._file(context, first)
        return found or training_trace.loop_suspect(result)

    def _file(self, context: Context, first: Comparison) -> Suspect | None:
        start = _under_way(context)
        formats = {".safetensors": Source.of(pack_training)}
        if first.moved_from:
            files = load_backend(first.moved_from).native_files
            formats[NATIVE_SUFFIX[first.moved_from]] = Source.of(files.save_training)
        for suffix, source in formats.items():
            path = context.folder / f"held{suffix}"
            save_training(path, start)
            found = (load_training_state if suffix == ".safetensors" else load_training)(path)
            lost = first_lost(found.tensors, start.tensors)
            if lost or found.progress != start.progress:
                comparison = dataclasses.replace(first, where=lost or "progress")
                explanation = f"A {suffix} file does not keep {comparison.where}."
                return self.suspect(comparison, source, explanation)
        return None


def _under_way(context: Context) -> TrainingState:
    # A run that is resumed, since only one of these may be wrong.
    start = inputs.training_state(context.spec, context.start.progress.recipe, context.state)
    progress = dataclasses.replace(start.progress, step=STEPS // 2, ema_updates=STEPS // 2)
    return dataclasses.replace(start, progress=progress)
