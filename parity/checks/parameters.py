"""Weights and statistics arrive in each twin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinynet.backend import load_backend
from tinynet.net.manifest import check_state

from parity.candidates import BASELINE
from parity.checks.base import IDENTICAL, SHARE, Check
from parity.context import Context
from parity.distances import compare_bits
from parity.reference.net import ReferenceNet
from parity.reference.structure import NET
from parity.results import CheckResult, Comparison
from parity.tolerances.bounds import ROUNDOFF
from parity.tracing import sources
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect


class ParametersCheck(Check):
    """Each twin, built from the state, gives the same state back; a second net of it too, which
    finds whatever building the first left in the process.
    """

    name = "parameters"
    title = "Weights and statistics arrive in each twin"
    unit = SHARE
    reason = IDENTICAL

    def compare(self, context: Context) -> Iterator[Comparison]:
        for candidate in dict.fromkeys((BASELINE, context.first)):
            read_state = context.twin(candidate).model.read_state
            for title in (candidate.framework, f"{candidate.framework}, second net"):
                found = read_state(context.build(candidate))
                for key, truth in context.state.items():
                    yield compare_bits(title, key, found.get(key), truth, **candidate.origin())

    def locate(self, context: Context, result: CheckResult) -> Suspect:
        first = result.failures[0]
        framework, layer = first.framework, first.where.rpartition(".")[0]
        if first.kind in ("missing", "shape"):
            source = sources.owner(framework, layer, context.spec)
            explanation = f"The net is built with another {first.where}: {first.note}."
            return self.suspect(first, source, explanation)
        others = {item.framework for item in result.failures if item.where == first.where}
        if set(context.frameworks) <= others and len(context.frameworks) > 1:
            explanation = f"Both twins are given another {first.where}."
            return self.suspect(first, Source.of(check_state), explanation)
        # Is it the net that has other numbers, or only what is read out of it?
        is_written, model = _computes_with(context, framework, layer), load_backend(framework).model
        source = Source.of(model.read_state if is_written else model.write_state)
        does = "reads" if is_written else "has"
        explanation = f"The net {does} other numbers for {first.where} than it was given."
        return self.suspect(first, source, explanation)


def _computes_with(context: Context, framework: str, layer: str) -> bool:
    definition, probe = ReferenceNet(context.spec, context.state), load_backend(framework).probe
    given = definition.run(NET, context.pixels).layers[layer].input.astype(np.float32)
    net = probe.build(context.spec, context.state)
    found = probe.isolated(net, {layer: given})[layer]
    truth = definition.run(layer, given).output
    return bool(np.abs(found - truth).max() <= 2**8 * ROUNDOFF * np.abs(truth).max())
