"""ONNX files from both twins."""

from __future__ import annotations

from collections.abc import Iterator

from tinynet.backend import load_backend
from tinynet.deploy import onnx_file

from parity.checks.base import RELATIVE, Check
from parity.context import Context
from parity.distances import compare_values
from parity.results import CheckResult, Comparison
from parity.tracing import bisection
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect


class OnnxCheck(Check):
    """Compares the logits of the ONNX files that both frameworks export."""

    name = "onnx"
    title = "ONNX files from both twins"
    unit = RELATIVE
    quantities = ("onnx",)
    exports = True

    def compare(self, context: Context) -> Iterator[Comparison]:
        name, bound = context.spec.names.classifier, context.bound("onnx")
        truth, baselines = context.reference_logits, context.baseline_logits
        for framework in context.frameworks:
            predict = onnx_file.OnnxPredictor(context.onnx_path(framework), context.spec)
            title, found = f"{framework} to ONNX", predict(context.pixels)
            yield compare_values(title, name, found, truth, baselines, bound, framework=framework)

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        first, failing = result.failures[0], {item.framework for item in result.failures}
        found = bisection.forward(context, context.first)
        if found:
            return found
        if len(failing) > 1 and failing >= set(context.frameworks):
            explanation = "The files of both exporters answer otherwise."
            return self.suspect(first, Source.of(onnx_file.export), explanation)
        source = Source.of(load_backend(first.framework).export.export_onnx)
        explanation = "The net is right, but not the file that is exported from it."
        return self.suspect(first, source, explanation)
