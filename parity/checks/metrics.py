"""What a user is told: the class of each photograph, top-1, top-5 and loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, Unpack

import numpy as np

from tinynet.backend import REFERENCE, load_backend
from tinynet.data.evaluation_batches import Prepared, RankShard, batches
from tinynet.data.labels import class_names
from tinynet.data.preprocessing import load_input
from tinynet.deploy import onnx_file
from tinynet.net.manifest import State
from tinynet.training import loop
from tinynet.training.evaluation import Predict, evaluate, sum_metrics

from parity import inputs
from parity.candidates import BASELINE, TRUTH, Candidate
from parity.checks.base import Check
from parity.checks.onnx import OnnxCheck
from parity.context import Context
from parity.distances import Array, compare_values, norm
from parity.results import CheckResult, Comparison, Origin
from parity.tolerances.bounds import BOUNDS, Bound
from parity.tolerances.quantities import whole_quantity
from parity.tracing import bisection, training_trace
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect

# Which of the reference's classes, best first, each photograph is labelled with in turn: hits and
# misses of the first class and of the first five, the sixth among them.
_RANKS = (0, 1, 0, 4, 5, 0, 2)
_BATCH = 3  # so that the last batch is a part of one
_PROCESSES = 3  # that share a data set, which they do not divide
_ONNX_RUNTIME = "ONNX Runtime"


class _Part(StrEnum):
    BATCHES = "batches"
    RUNTIME = "runtime"
    PROCESSES = "processes"
    LOOP = "loop"


class MetricsCheck(Check):
    """Compares what three runtimes say of photographs, and how their answers are counted."""

    name = "metrics"
    title = "Classes, top-1, top-5 and loss on photographs"
    unit = "1 if another class, points, or relative"
    reason = (
        f"rounding flips no prediction of a photograph; the loss: {BOUNDS['metric loss'].reason}"
    )
    quantities = ("metric loss", "onnx")
    exports = True

    def compare(self, context: Context) -> Iterator[Comparison]:
        names, images = _photographs(context)
        logits = _logits(context, context.state, images)
        baseline: Predict = context.twin(BASELINE).predict.Predictor(context.spec, context.state)
        answers = baseline(images)
        # Logits that are nearer to each other than this may change places.
        factor = context.bound(whole_quantity("logits", context.spec)).factor
        tie = 2 * factor * float(np.abs(answers - logits).max())
        ranked = np.argsort(-logits, axis=1)
        ranks = [
            _clear_rank(np.sort(own)[::-1], _RANKS[index % len(_RANKS)], tie)
            for index, own in enumerate(logits)
        ]
        labels = [int(ranked[row, rank]) for row, rank in enumerate(ranks)]
        labelled = list(zip(images, labels, strict=True))
        loss = _Loss.of(logits, answers, labels)
        in_batches = sum(len(batch.labels) for batch in batches(labelled, _BATCH))
        yield _counted("batches", in_batches, len(labelled), part=_Part.BATCHES)
        says = class_names(context.spec)
        for runtime, predict, origin in _runtimes(context, baseline):
            found = evaluate(predict, labelled, _BATCH)
            counted = _counted(runtime, found.images, len(labelled), **origin)
            yield counted
            if not counted.passed:
                continue
            for row, (name, top) in enumerate(zip(names, found.top.classes[:, 0], strict=True)):
                best = ranked[row, 0]
                wrong = logits[row, best] - logits[row, top] > tie
                note = f"says {says[top]}" + (f", expected {says[best]}" if wrong else "")
                yield Comparison(runtime, name, float(wrong), 0.0, note=note, **origin)
            for name, says_top, count in (("top-1", found.top1, 1), ("top-5", found.top5, 5)):
                truth = 100 * float(np.mean([rank < count for rank in ranks]))
                yield _percentage(runtime, name, says_top, truth, **origin)
            bound = context.bound("onnx" if runtime == _ONNX_RUNTIME else "metric loss")
            yield loss.compare(runtime, "mean loss", found.loss, bound, **origin)
        if context.can_train:
            prepared = Prepared(context.source, context.spec)
            shards = (RankShard(prepared, rank, _PROCESSES) for rank in range(_PROCESSES))
            together = sum(sum_metrics(baseline, shard, _BATCH).images for shard in shards)
            title = f"{_PROCESSES} processes"
            yield _counted(title, together, len(prepared), part=_Part.PROCESSES)
            yield from _of_loops(context, prepared)

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        first = result.failures[0]
        runtimes = {item.candidate for item in result.failures if item.where == first.where}
        if first.part == _Part.LOOP:
            start = inputs.training_state(context.spec, context.recipe, context.state)
            evaluated = training_trace.evaluated(Candidate(first.framework, first.mode), start)
            source, where = Source.of(loop.evaluate), first.where
            explanation = f"What the loop says of its validation set is not so: {where}."
            return evaluated or self.suspect(first, source, f"{explanation} {first.note}".strip())
        if first.part != _Part.RUNTIME:
            source = Source.of(batches if first.part == _Part.BATCHES else RankShard)
            return self.suspect(first, source, f"{first.note}.")
        if len(runtimes) > 2:
            explanation = f"Every runtime's answers are counted otherwise: {first.note}"
            return self.suspect(first, Source.of(evaluate), explanation)
        if not first.framework:
            # The other exporter's file, in the same runtime, tells file and runtime apart.
            off = {item.framework for item in OnnxCheck().compare(context) if not item.passed}
            source = Source.of(onnx_file.OnnxPredictor)
            if off == {REFERENCE} and len(context.frameworks) > 1:
                source = Source.of(load_backend(REFERENCE).export.export_onnx)
            return self.suspect(first, source, f"{first.note}.")
        source = Source.of(load_backend(first.framework).predict.Predictor)
        wrong = f"{first.where}. {first.note}"
        explanation = f"The net is right, but not what asks it for answers: {wrong}"
        found = bisection.forward(context, context.candidate_of(first))
        return found or self.suspect(first, source, explanation)


def _photographs(context: Context) -> tuple[list[str], Array]:
    # Names, and pixels (N, C, H, W); made ones for a net that takes no photographs.
    if context.spec.input_size[0] not in (1, 3):
        return [f"sample {index}" for index in range(len(context.pixels))], context.pixels
    paths = inputs.photographs()
    return [path.name for path in paths], np.stack([load_input(p, context.spec) for p in paths])


def _runtimes(context: Context, baseline: Predict) -> Iterator[tuple[str, Predict, Origin]]:
    spec, first = context.spec, context.first
    part = _Part.RUNTIME
    yield str(BASELINE), baseline, BASELINE.origin(part=part)
    # Whatever the precision of training, nets answer in float32.
    title = str(dataclasses.replace(first, precision="float32"))
    if title != str(BASELINE):
        predictor = context.twin(first).predict.Predictor
        predict: Predict = predictor(spec, context.state, first.device, first.mode)
        yield title, predict, first.origin(part=part)
    path = context.onnx_path(REFERENCE)
    yield _ONNX_RUNTIME, onnx_file.OnnxPredictor(path, spec), Origin(part=part)


def _clear_rank(logits: Array, wanted: int, tie: float) -> int:
    # Of logits (K,) from the largest on: the rank nearest to the wanted one that no rounding takes
    # into or out of the first one or the first five.
    edges = [count for count in (1, 5) if count < len(logits)]

    def clear(rank: int) -> bool:
        pairs = ((rank, edge) if rank < edge else (edge - 1, rank) for edge in edges)
        return all(logits[better] - logits[worse] > tie for better, worse in pairs)

    ranks = sorted(range(len(logits)), key=lambda rank: abs(rank - wanted))
    return next(filter(clear, ranks), min(wanted, len(logits) - 1))


def _of_loops(context: Context, prepared: Prepared) -> Iterator[Comparison]:
    # What each training loop says of its validation set when it ends, and calls its best so far.
    pairs = [prepared[index] for index in range(len(prepared))]
    images, labels = np.stack([image for image, _ in pairs]), [label for _, label in pairs]
    for candidate in context.with_baseline:
        course, title = context.course(candidate), f"{candidate}, its loop"
        origin = candidate.origin(part=_Part.LOOP)
        state, scores = course.trajectory.state, course.scores
        bound = context.bound("metric loss", candidate)
        for name, weights, found in (
            ("raw weights", state.weights, scores and scores.raw),
            ("averaged weights", state.ema, scores and scores.ema),
        ):
            count = found.images if found else 0
            counted = _counted(f"{title}, {name}", count, len(images), **origin)
            yield counted
            if weights is None or found is None or not counted.passed:
                continue
            logits = _logits(context, weights, images)
            baseline = context.twin(BASELINE).predict.Predictor(context.spec, weights)(images)
            loss = _Loss.of(logits, baseline, labels)
            where = f"mean loss with {name}"
            yield loss.compare(title, where, found.mean_loss, bound, **origin)
            if weights is state.ema:
                best = state.progress.best
                told = best.value if best else math.nan
                hits = 100 * float(np.mean(np.equal(np.argmax(logits, axis=1), labels)))
                yield _percentage(title, "best top-1", told, hits, **origin)


class _Loss(NamedTuple):
    """The mean cross-entropy, its noise, and the size of the logits that it is a difference of."""

    truth: Array
    noise: list[Array]
    size: float

    @classmethod
    def of(cls, logits: Array, baseline: Array, labels: list[int]) -> _Loss:
        """Computes it from the logits (N, K) of the reference and of the baseline."""

        def losses(logits: Array) -> Array:
            logits = logits.astype(np.float64)
            return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]

        own = losses(logits)
        # Of single photographs: in the mean errors may cancel, by luck.
        noise = [own.mean() + error for error in losses(baseline) - own]
        return cls(own.mean(), noise, norm(logits) / math.sqrt(logits.size))

    def compare(
        self, candidate: str, where: str, found: float, bound: Bound, **origin: Unpack[Origin]
    ) -> Comparison:
        against = self.truth, self.noise, bound, self.size
        return compare_values(candidate, where, np.array(found), *against, **origin)


def _logits(context: Context, state: State, images: Array) -> Array:
    # The whole net in float64 as one layer: no activation in it is kept.
    net = context.build(TRUTH, state)
    return context.twin(TRUTH).probe.isolated(net, {"": images})[""]


def _counted(candidate: str, found: int, expected: int, **origin: Unpack[Origin]) -> Comparison:
    note = "" if found == expected else f"counts {found} images, expected {expected}"
    error = abs(found - expected)
    return Comparison(candidate, "number of images", error, 0.0, note=note, **origin)


def _percentage(
    candidate: str, where: str, found: float, expected: float, **origin: Unpack[Origin]
) -> Comparison:
    note = "" if found == expected else f"is {found:.2f} %, expected {expected:.2f} %"
    # Percentages of the same counts, which may be rounded in another place.
    return Comparison(candidate, where, abs(found - expected), 1e-9, note=note, **origin)
