"""Rungs of one training step up to the gradients: loss, gradients, batch-norm statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinynet.net.manifest import TRAINED_ROLES, manifest

from parity.checks.kinks import past_kinks
from parity.context import Bench
from parity.distances import compare_values, norm
from parity.results import Evidence, Series
from parity.tolerances.quantities import (
    gradient_quantity,
    gradient_scale,
    statistic_scale,
    whole_norm,
    whole_quantity,
)


def loss(bench: Bench) -> Iterator[Evidence]:
    """The training loss of one batch."""
    truth = np.array(bench.judge_gradients.loss)
    references = [np.array(item.loss) for item in bench.reference_gradients]
    quantity = whole_quantity("loss", bench.spec)
    for subject in bench.subjects:
        found, bound = np.array(bench.gradients(subject).loss), bench.bound(quantity, subject)
        yield compare_values(str(subject), "loss", found, truth, references, bound)


@past_kinks
def gradients_isolated(bench: Bench) -> Iterator[Evidence | Series]:
    """Each block (and what stands beside the blocks) alone, in training, forward and then back.

    It is fed what the judge's was given, and the gradient that reached the judge's output.
    """
    quantity = "gradient, kinked alone" if bench.kinked else "gradient, isolated"
    references = bench.reference_backward
    for subject in bench.subjects:
        bound = bench.bound(quantity, subject)
        found = bench.backward(subject)
        # From the loss back to the input, the way gradients flow.
        for name, truth in reversed(bench.judge_backward.items()):
            here = found.get(name)
            whole = whole_norm(map(norm, truth.parameters.values()))
            for key, value in reversed(truth.parameters.items()):
                yield compare_values(
                    str(subject), key, here and here.parameters.get(key), value,
                    [item[name].parameters[key] for item in references], bound,
                    scale=gradient_scale(norm(value), whole),
                )  # fmt: skip
            yield compare_values(
                str(subject), f"{name} input", here and here.input, truth.input,
                [item[name].input for item in references], bound,
            )  # fmt: skip
    bench.release("backward_inputs", "judge_backward", "reference_backward")


@past_kinks
def gradients_chained(bench: Bench) -> Iterator[Evidence | Series]:
    """The gradient of every parameter, from the loss back to the input."""
    judge, references = bench.judge_gradients, bench.reference_gradients
    entries = manifest(bench.spec).items()
    trained = [key for key, entry in entries if entry.role in TRAINED_ROLES]
    quantity = gradient_quantity(bench.spec)
    whole = whole_norm(map(norm, judge.parameters.values()))
    for subject in bench.subjects:
        bound = bench.bound(quantity, subject)
        found = bench.gradients(subject)
        # From the loss back to the input, the way gradients flow.
        for key in reversed(trained):
            truth = judge.parameters[key]
            yield compare_values(
                str(subject), key, found.parameters.get(key), truth,
                [item.parameters[key] for item in references], bound,
                scale=gradient_scale(norm(truth), whole),
            )  # fmt: skip
        yield compare_values(
            str(subject), "input", found.input, judge.input,
            [item.input for item in references], bound,
        )  # fmt: skip


def statistics(bench: Bench) -> Iterator[Evidence]:
    """Running means and variances behind one training step."""
    judge, references = bench.judge_gradients.statistics, bench.reference_gradients
    for subject in bench.subjects:
        bound = bench.bound("statistics", subject)
        found = bench.gradients(subject).statistics
        for key, truth in judge.items():
            yield compare_values(
                str(subject), key, found.get(key), truth,
                [item.statistics[key] for item in references], bound,
                scale=statistic_scale(key, judge),
            )  # fmt: skip
    bench.release("reference_gradients", "gradients")
