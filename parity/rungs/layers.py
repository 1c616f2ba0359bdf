"""Rungs of the net in evaluation: each layer alone, each in its place, the logits."""

from __future__ import annotations

import math
from collections.abc import Iterator

from parity.bench import Bench
from parity.compare import compare_values
from parity.evidence import Evidence
from parity.tolerance import BOUNDS, Bound


def layers_isolated(bench: Bench) -> Iterator[Evidence]:
    """Each layer alone, fed the same input; a layer that only one side has fails."""
    for subject in (*bench.subjects, bench.exact):
        found, others = bench.layers(subject)
        for name in others:
            note = "the judge has no such layer"
            yield Evidence(str(subject), name, math.inf, 0.0, kind="unexpected", note=note)
        for name, truth in bench.judge_layers.items():
            bound = BOUNDS["layer"] if subject.exact_gates else _layer_bound(name)
            reference = bench.reference_layers[name]
            yield compare_values(str(subject), name, found.get(name), truth, [reference], bound)


def _layer_bound(name: str) -> Bound:
    # Convolutions, batch norms, pooling and classifier have no exp in them; activations, gates,
    # squeeze-excites and whole blocks have.
    leaf = name.rpartition(".")[2]
    plain = leaf.startswith(("conv", "bn", "global_pool", "classifier"))
    return BOUNDS["layer" if plain else "gate layer"]


def layers_chained(bench: Bench) -> Iterator[Evidence]:
    """Each layer within the whole net, with the errors of all before it."""
    for subject in bench.subjects:
        found = bench.trace(subject)
        for name, truth in bench.judge_trace.items():
            output = found[name].output if name in found else None
            yield compare_values(
                str(subject), name, output, truth.output, bench.reference_outputs[name],
                BOUNDS["chained"],
            )  # fmt: skip


def logits(bench: Bench) -> Iterator[Evidence]:
    """The whole net, and once more with sigmoid and SiLU computed in float64."""
    truth = bench.judge_trace["classifier"].output
    references = bench.reference_outputs["classifier"]
    for subject in (*bench.subjects, bench.exact):
        bound = BOUNDS["logits, exact gates" if subject.exact_gates else "logits"]
        found = bench.trace(subject)["classifier"].output
        yield compare_values(str(subject), "classifier", found, truth, references, bound)
