"""Checks of the net in evaluation: each layer alone, each in its place, the logits."""

from __future__ import annotations

import math
from collections.abc import Iterator

from parity.context import Context
from parity.distances import compare_values, compare_within
from parity.reference.net import ReferenceNet
from parity.reference.structure import NET
from parity.results import Comparison
from parity.tolerances.bounds import ROUNDOFF
from parity.tolerances.quantities import layer_quantity, whole_quantity

REFERENCE_TITLE = "the judge"


def layers_isolated(context: Context) -> Iterator[Comparison]:
    """Each layer alone, fed the same input; a layer that only one side has fails.

    First the reference itself, by whom all else is judged, is held against the definition.
    """
    yield from _judge(context)
    for candidate in (*context.candidates, *context.exact):
        found, others = context.layers(candidate)
        bounds = {name: context.bound(name, candidate) for name in ("layer", "gate layer")}
        for name in others:
            note = "the judge has no such layer"
            yield Comparison(str(candidate), name, math.inf, 0.0, kind="unexpected", note=note)
        for name, truth in context.reference_layers.items():
            quantity = layer_quantity(name, context.spec)
            if candidate.exact_gates and quantity == "layer":
                continue
            bound = bounds["layer" if candidate.exact_gates else quantity]
            baselines = [layers[name] for layers in context.baseline_layers]
            yield compare_values(str(candidate), name, found.get(name), truth, baselines, bound)
    context.release("layer_inputs", "reference_layers", "baseline_layers")


def _judge(context: Context) -> Iterator[Comparison]:
    # Float64 twice: no rounding of it, through the whole net, comes near one of float32.
    truths = ReferenceNet(context.spec, context.state).run(NET, context.pixels).layers
    for name, truth in truths.items():
        if name == NET:
            continue
        found = context.reference_trace[name].output if name in context.reference_trace else None
        yield compare_within(REFERENCE_TITLE, name, found, truth.output, 0.0, ROUNDOFF, "")


def layers_chained(context: Context) -> Iterator[Comparison]:
    """Each layer within the whole net, with the errors of all before it."""
    quantity = whole_quantity("chained", context.spec)
    for candidate in context.candidates:
        found, bound = context.trace(candidate), context.bound(quantity, candidate)
        for name, truth in context.reference_trace.items():
            output = found[name].output if name in found else None
            yield compare_values(
                str(candidate), name, output, truth.output, context.baseline_outputs[name],
                bound,
            )  # fmt: skip


def logits(context: Context) -> Iterator[Comparison]:
    """The whole net, and once more with sigmoid and SiLU computed in float64."""
    name = context.spec.names.classifier
    truth, baselines = context.reference_logits, context.baseline_logits
    quantity = whole_quantity("logits", context.spec)
    for candidate in (*context.candidates, *context.exact):
        bound = context.bound(
            "logits, exact gates" if candidate.exact_gates else quantity, candidate
        )
        found = context.trace(candidate)[name].output
        yield compare_values(str(candidate), name, found, truth, baselines, bound)
    context.release("reference_trace", "baseline_trace", "baseline_outputs", "trace")
