"""Weights and slots after steps on given gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinynet.checkpoints.training_state import initial_training_state
from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.recipe import load_recipe

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import OPTIMIZERS, Context
from parity.distances import Array, compare_bits
from parity.results import CheckResult, Comparison, Series
from parity.tracing import training_trace
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect

# Source: TensorFlow's RMSPropOptimizer, whose mean squares start at one.
_FIRST_SLOTS = {"mean_square": 1.0, "momentum": 0.0}
_START = "start"  # the part before the first step; the others are kinds of optimizers


class OptimizerCheck(MeasuredCheck):
    """Takes the same steps with each kind of optimizer."""

    name = "optimizer"
    title = "Weights and slots after steps on given gradients"
    needs = "steps"
    quantities = ("optimizer",)
    drawing = ""
    recorded_with = "optimizers"

    def candidates(self, context: Context) -> list[Candidate]:
        return [context.first]

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        entries = manifest(context.spec).items()
        trained = [key for key, entry in entries if entry.role in TRAINED_ROLES]
        found: dict[str, Array] = {}
        for kind in OPTIMIZERS:
            state = context.update(candidate, kind, sample)
            for slot, arrays in state.slots.items():
                found |= {f"{kind}/{slot} of {k}": arrays[k] for k in trained if k in arrays}
            found |= {f"{kind}/{k}": state.weights[k] for k in trained if k in state.weights}
        return found

    def compare(self, context: Context) -> Iterator[Comparison | Series]:
        # Both twins are told what the slots hold before the first step.
        spec, recipe = context.spec, load_recipe("imagenet")
        start = initial_training_state(spec, recipe, 0, 1, "", context.state)
        for slot, arrays in start.slots.items():
            values = np.concatenate([array.ravel() for array in arrays.values()])
            truth = np.full_like(values, _FIRST_SLOTS[slot])
            yield compare_bits("before the first step", slot, values, truth, part=_START)
        yield from super().compare(context)

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        first = result.failures[0]
        if first.part == _START:
            source = Source.of(initial_training_state)
            return self.suspect(first, source, f"{first.where} starts with other numbers.")
        candidate = context.candidate_of(first)
        return training_trace.update(context, candidate, first.part, averages=False)
