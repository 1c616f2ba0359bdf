"""The check of what a user is told: the class of each photograph, top-1, top-5 and loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinynet.backend import REFERENCE
from tinynet.data.evaluation_batches import Prepared, RankShard, batches
from tinynet.data.labels import class_names
from tinynet.data.preprocessing import load_input
from tinynet.deploy import onnx_file
from tinynet.training.evaluation import Predict, evaluate, sum_metrics

from parity import inputs
from parity.context import Context
from parity.distances import Array, compare_values, norm
from parity.results import Comparison
from parity.tolerances.bounds import Bound
from parity.tolerances.quantities import whole_quantity

# Which of the reference's classes, best first, each photograph is labelled with in turn: hits and
# misses of the first class and of the first five, the sixth among them.
_RANKS = (0, 1, 0, 4, 5, 0, 2)
_BATCH = 3  # so that the last batch is a part of one
_PROCESSES = 3  # that share a data set, which they do not divide


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Labelled:
    images: Array
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Array, int]:
        return self.images[index], self.labels[index]


def metrics(context: Context) -> Iterator[Comparison]:
    """What three runtimes say of photographs, and how their answers are counted."""
    if context.spec.input_size[0] in (1, 3):
        paths = inputs.photographs()
        names = [path.name for path in paths]
        images = np.stack([load_input(path, context.spec) for path in paths])
    else:
        images = context.pixels
        names = [f"sample {index}" for index in range(len(images))]
    logits = _logits(context, context.reference_net, images)
    ranked = np.argsort(-logits, axis=1)
    baseline: Predict = context.reference.predict.Predictor(context.spec, context.state)
    answers = baseline(images)
    # Logits that are nearer to each other than this may change places.
    factor = context.bound(whole_quantity("logits", context.spec)).factor
    tie = 2 * factor * float(np.abs(answers - logits).max())
    ranks = [
        _clear_rank(np.sort(own)[::-1], _RANKS[index % len(_RANKS)], tie)
        for index, own in enumerate(logits)
    ]
    labelled = _Labelled(images, [int(ranked[row, rank]) for row, rank in enumerate(ranks)])
    truth = {
        "top-1": 100 * float(np.mean([rank < 1 for rank in ranks])),
        "top-5": 100 * float(np.mean([rank < 5 for rank in ranks])),
    }
    loss = _Loss.of(logits, answers, labelled.labels)
    first = context.first
    candidate: Predict = context.candidate.predict.Predictor(
        context.spec, context.state, first.device, first.mode
    )
    runtimes: dict[str, Predict] = {
        str(context.baseline): baseline,
        # Whatever the precision of training, nets answer in float32.
        str(dataclasses.replace(first, precision="float32")): candidate,
        "ONNX Runtime": onnx_file.OnnxPredictor(context.onnx_path(REFERENCE), context.spec),
    }
    says = class_names(context.spec)
    in_batches = sum(len(batch.labels) for batch in batches(labelled, _BATCH))
    yield _counted("batches", in_batches, len(labelled))
    for runtime, predict in runtimes.items():
        found = evaluate(predict, labelled, _BATCH)
        counted = _counted(runtime, found.images, len(labelled))
        yield counted
        if not counted.passed:
            continue
        for row, (name, top) in enumerate(zip(names, found.top.classes[:, 0], strict=True)):
            best = ranked[row, 0]
            wrong = logits[row, best] - logits[row, top] > tie
            note = f"says {says[top]}" + (f", expected {says[best]}" if wrong else "")
            yield Comparison(runtime, name, float(wrong), 0.0, note=note)
        for name, percent in truth.items():
            says_top = {"top-1": found.top1, "top-5": found.top5}[name]
            yield _percentage(runtime, name, says_top, percent)
        bound = context.bound("onnx" if runtime == "ONNX Runtime" else "metric loss")
        yield loss.compare(runtime, "mean loss", found.loss, bound)
    if context.can_train:
        prepared = Prepared(context.source, context.spec)
        shares = (RankShard(prepared, rank, _PROCESSES) for rank in range(_PROCESSES))
        together = sum(sum_metrics(baseline, share, _BATCH).images for share in shares)
        yield _counted(f"{_PROCESSES} processes", together, len(prepared))
        yield from _of_runs(context, prepared)


def _clear_rank(logits: Array, wanted: int, tie: float) -> int:
    # Of logits (K,) from the largest on: the rank nearest to the wanted one that no rounding takes
    # into or out of the first one or the first five.
    def clear(rank: int) -> bool:
        edges = [count for count in (1, 5) if count < len(logits)]
        return all(
            logits[rank] - logits[edge] > tie
            if rank < edge
            else logits[edge - 1] - logits[rank] > tie
            for edge in edges
        )

    ranks = sorted(range(len(logits)), key=lambda rank: abs(rank - wanted))
    return next(filter(clear, ranks), min(wanted, len(logits) - 1))


def _of_runs(context: Context, prepared: Prepared) -> Iterator[Comparison]:
    # What each training loop says of its validation set when it ends, and calls its best so far.
    pairs = [prepared[index] for index in range(len(prepared))]
    images, labels = np.stack([image for image, _ in pairs]), [label for _, label in pairs]
    for candidate in dict.fromkeys((context.baseline, *context.candidates)):
        course, title = context.course(candidate), f"{candidate}, its loop"
        state, scores = course.trajectory.state, course.scores
        bound = context.bound("metric loss", candidate)
        for name, weights, found in (
            ("raw weights", state.weights, scores and scores.raw),
            ("averaged weights", state.ema, scores and scores.ema),
        ):
            counted = _counted(f"{title}, {name}", found.images if found else 0, len(images))
            yield counted
            if weights is None or found is None or not counted.passed:
                continue
            net = context.reference.probe.build(context.spec, weights, precision="float64")
            logits = _logits(context, net, images)
            baseline = context.reference.predict.Predictor(context.spec, weights)(images)
            loss = _Loss.of(logits, baseline, labels)
            yield loss.compare(title, f"mean loss with {name}", found.mean_loss, bound)
            if weights is state.ema:
                best = state.progress.best
                told = best.value if best else math.nan
                hits = np.mean(np.equal(np.argmax(logits, axis=1), labels))
                yield _percentage(title, "best top-1", told, 100 * float(hits))


class _Loss(NamedTuple):
    """The mean cross-entropy, and what it takes to judge another one."""

    truth: Array
    noise: list[Array]
    size: float

    @classmethod
    def of(cls, logits: Array, baseline: Array, labels: list[int]) -> _Loss:
        """From the logits (N, K) of the reference and of the baseline."""
        own = _losses(logits, labels)
        # Of single photographs: in the mean errors may cancel, by luck.
        noise = [own.mean() + error for error in _losses(baseline, labels) - own]
        # The loss is a difference of logits, however small it is itself.
        return cls(own.mean(), noise, norm(logits) / math.sqrt(logits.size))

    def compare(self, candidate: str, where: str, found: float, bound: Bound) -> Comparison:
        return compare_values(
            candidate, where, np.array(found), self.truth, self.noise, bound, self.size
        )


def _logits(context: Context, net: Any, images: Array) -> Array:
    # The whole net as one layer: no activation in it is kept.
    return context.reference.probe.isolated(net, {"": images})[""]


def _counted(candidate: str, found: int, expected: int) -> Comparison:
    note = "" if found == expected else f"counts {found} images, expected {expected}"
    return Comparison(candidate, "number of images", abs(found - expected), 0.0, note=note)


def _percentage(candidate: str, where: str, found: float, expected: float) -> Comparison:
    note = "" if found == expected else f"is {found:.2f} %, expected {expected:.2f} %"
    # Percentages of the same counts, which may be rounded in another place.
    return Comparison(candidate, where, abs(found - expected), 1e-9, note=note)


def _losses(logits: Array, labels: list[int]) -> Array:
    logits = logits.astype(np.float64)
    return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]
