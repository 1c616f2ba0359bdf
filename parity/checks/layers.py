"""Rungs of the net in evaluation: each layer alone, each in its place, the logits."""

from __future__ import annotations

import math
from collections.abc import Iterator

from parity.context import Bench
from parity.distances import compare_values, compare_within
from parity.reference.net import NET, Definition
from parity.results import Evidence
from parity.tolerances.bounds import ROUNDOFF
from parity.tolerances.quantities import layer_quantity, whole_quantity

JUDGE_TITLE = "the judge"


def layers_isolated(bench: Bench) -> Iterator[Evidence]:
    """Each layer alone, fed the same input; a layer that only one side has fails.

    First the judge itself, by whom all else is judged, is held against the definition.
    """
    yield from _judge(bench)
    for subject in (*bench.subjects, *bench.exact):
        found, others = bench.layers(subject)
        bounds = {name: bench.bound(name, subject) for name in ("layer", "gate layer")}
        for name in others:
            note = "the judge has no such layer"
            yield Evidence(str(subject), name, math.inf, 0.0, kind="unexpected", note=note)
        for name, truth in bench.judge_layers.items():
            quantity = layer_quantity(name, bench.spec)
            if subject.exact_gates and quantity == "layer":
                continue
            bound = bounds["layer" if subject.exact_gates else quantity]
            references = [layers[name] for layers in bench.reference_layers]
            yield compare_values(str(subject), name, found.get(name), truth, references, bound)
    bench.release("layer_inputs", "judge_layers", "reference_layers")


def _judge(bench: Bench) -> Iterator[Evidence]:
    # Float64 twice: no rounding of it, through the whole net, comes near one of float32.
    truths = Definition(bench.spec, bench.state).run(NET, bench.pixels).layers
    for name, truth in truths.items():
        if name == NET:
            continue
        found = bench.judge_trace[name].output if name in bench.judge_trace else None
        yield compare_within(JUDGE_TITLE, name, found, truth.output, 0.0, ROUNDOFF, "")


def layers_chained(bench: Bench) -> Iterator[Evidence]:
    """Each layer within the whole net, with the errors of all before it."""
    quantity = whole_quantity("chained", bench.spec)
    for subject in bench.subjects:
        found, bound = bench.trace(subject), bench.bound(quantity, subject)
        for name, truth in bench.judge_trace.items():
            output = found[name].output if name in found else None
            yield compare_values(
                str(subject), name, output, truth.output, bench.reference_outputs[name],
                bound,
            )  # fmt: skip


def logits(bench: Bench) -> Iterator[Evidence]:
    """The whole net, and once more with sigmoid and SiLU computed in float64."""
    name = bench.spec.names.classifier
    truth, references = bench.judge_logits, bench.reference_logits
    quantity = whole_quantity("logits", bench.spec)
    for subject in (*bench.subjects, *bench.exact):
        bound = bench.bound("logits, exact gates" if subject.exact_gates else quantity, subject)
        found = bench.trace(subject)[name].output
        yield compare_values(str(subject), name, found, truth, references, bound)
    bench.release("judge_trace", "reference_trace", "reference_outputs", "trace")
