"""Checks of one training step up to the gradients: loss, gradients, batch-norm statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinynet.net.manifest import TRAINED_ROLES, manifest

from parity.checks.kinks import past_kinks
from parity.context import Context
from parity.distances import compare_values, norm
from parity.results import Comparison, Series
from parity.tolerances.quantities import (
    gradient_quantity,
    gradient_scale,
    statistic_scale,
    whole_norm,
    whole_quantity,
)


def loss(context: Context) -> Iterator[Comparison]:
    """The training loss of one batch."""
    truth = np.array(context.reference_gradients.loss)
    baselines = [np.array(item.loss) for item in context.baseline_gradients]
    quantity = whole_quantity("loss", context.spec)
    for candidate in context.candidates:
        found, bound = (
            np.array(context.gradients(candidate).loss),
            context.bound(quantity, candidate),
        )
        yield compare_values(str(candidate), "loss", found, truth, baselines, bound)


@past_kinks
def gradients_isolated(context: Context) -> Iterator[Comparison | Series]:
    """Each block (and what stands beside the blocks) alone, in training, forward and then back.

    It is fed what the reference's was given, and the gradient that reached the reference's output.
    """
    quantity = "gradient, kinked alone" if context.non_smooth else "gradient, isolated"
    baselines = context.baseline_backward
    for candidate in context.candidates:
        bound = context.bound(quantity, candidate)
        found = context.backward(candidate)
        # From the loss back to the input, the way gradients flow.
        for name, truth in reversed(context.reference_backward.items()):
            here = found.get(name)
            whole = whole_norm(map(norm, truth.parameters.values()))
            for key, value in reversed(truth.parameters.items()):
                yield compare_values(
                    str(candidate), key, here and here.parameters.get(key), value,
                    [item[name].parameters[key] for item in baselines], bound,
                    scale=gradient_scale(norm(value), whole),
                )  # fmt: skip
            yield compare_values(
                str(candidate), f"{name} input", here and here.input, truth.input,
                [item[name].input for item in baselines], bound,
            )  # fmt: skip
    context.release("backward_inputs", "reference_backward", "baseline_backward")


@past_kinks
def gradients_chained(context: Context) -> Iterator[Comparison | Series]:
    """The gradient of every parameter, from the loss back to the input."""
    reference, baselines = context.reference_gradients, context.baseline_gradients
    entries = manifest(context.spec).items()
    trained = [key for key, entry in entries if entry.role in TRAINED_ROLES]
    quantity = gradient_quantity(context.spec)
    whole = whole_norm(map(norm, reference.parameters.values()))
    for candidate in context.candidates:
        bound = context.bound(quantity, candidate)
        found = context.gradients(candidate)
        # From the loss back to the input, the way gradients flow.
        for key in reversed(trained):
            truth = reference.parameters[key]
            yield compare_values(
                str(candidate), key, found.parameters.get(key), truth,
                [item.parameters[key] for item in baselines], bound,
                scale=gradient_scale(norm(truth), whole),
            )  # fmt: skip
        yield compare_values(
            str(candidate), "input", found.input, reference.input,
            [item.input for item in baselines], bound,
        )  # fmt: skip


def statistics(context: Context) -> Iterator[Comparison]:
    """Running means and variances behind one training step."""
    reference, baselines = context.reference_gradients.statistics, context.baseline_gradients
    for candidate in context.candidates:
        bound = context.bound("statistics", candidate)
        found = context.gradients(candidate).statistics
        for key, truth in reference.items():
            yield compare_values(
                str(candidate), key, found.get(key), truth,
                [item.statistics[key] for item in baselines], bound,
                scale=statistic_scale(key, reference),
            )  # fmt: skip
    context.release("baseline_gradients", "gradients")
