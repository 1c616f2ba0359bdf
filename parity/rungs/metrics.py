"""The rung of what a user is told: the class of each photograph, top-1, top-5 and loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from tinynet.evaluation import Predict, evaluate
from tinynet.images import load_input
from tinynet.labels import class_names

from parity import inputs, onnx_file
from parity.bench import Bench
from parity.compare import Array, compare_values, norm
from parity.evidence import Evidence
from parity.twins import JUDGE

# Which of the judge's classes, best first, each photograph is labelled with in turn: hits and
# misses of the first class and of the first five, the sixth among them.
_RANKS = (0, 1, 0, 4, 5, 0, 2)
_BATCH = 3  # so that the last batch is a part of one


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Labelled:
    images: Array
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Array, int]:
        return self.images[index], self.labels[index]


def metrics(bench: Bench) -> Iterator[Evidence]:
    """What three runtimes say of photographs, and how their answers are counted."""
    if bench.spec.input_size[0] in (1, 3):
        paths = inputs.photographs()
        names = [path.name for path in paths]
        images = np.stack([load_input(path, bench.spec) for path in paths])
    else:
        images = bench.pixels
        names = [f"sample {index}" for index in range(len(images))]
    # One at a time: a trace holds every layer's activations, gigabytes for all photographs.
    traces = (bench.judge.probe.trace(bench.judge_net, image[None]) for image in images)
    logits = np.concatenate([trace["classifier"].output for trace in traces])
    ranked = np.argsort(-logits, axis=1)
    classes = logits.shape[1]
    ranks = [_RANKS[index % len(_RANKS)] % classes for index in range(len(images))]
    labelled = _Labelled(images, [int(ranked[row, rank]) for row, rank in enumerate(ranks)])
    truth = {
        "top-1": 100 * float(np.mean([rank < 1 for rank in ranks])),
        "top-5": 100 * float(np.mean([rank < 5 for rank in ranks])),
    }
    own = _losses(logits, labelled.labels)
    loss = own.mean()
    reference: Predict = bench.judge.predict.Predictor(bench.spec, bench.state)
    # Of single photographs: in the mean errors may cancel, by luck.
    errors = _losses(reference(labelled.images), labelled.labels) - own
    noise = [loss + error for error in errors]
    # The loss is a difference of logits, however small it is itself.
    size = norm(logits) / math.sqrt(logits.size)
    first = bench.first
    candidate: Predict = bench.candidate.predict.Predictor(
        bench.spec, bench.state, first.device, first.mode
    )
    runtimes: dict[str, Predict] = {
        str(bench.reference): reference,
        # Whatever the precision of training, nets answer in float32.
        str(dataclasses.replace(first, precision="float32")): candidate,
        "ONNX Runtime": onnx_file.OnnxPredictor(bench.onnx_path(JUDGE), bench.spec),
    }
    says = class_names(bench.spec)
    for runtime, predict in runtimes.items():
        found = evaluate(predict, labelled, _BATCH)
        for name, top, expected in zip(names, found.top.classes[:, 0], ranked[:, 0], strict=True):
            note = f"says {says[top]}" + (f", expected {says[expected]}" if top != expected else "")
            yield Evidence(runtime, name, float(top != expected), 0.0, note=note)
        for name, percent in truth.items():
            counted = {"top-1": found.top1, "top-5": found.top5}[name]
            note = f"is {counted:.2f} %, expected {percent:.2f} %" if counted != percent else ""
            # Percentages of the same counts, which may be rounded in another place.
            yield Evidence(runtime, name, abs(counted - percent), 1e-9, note=note)
        bound = bench.bound("onnx" if runtime == "ONNX Runtime" else "metric loss")
        yield compare_values(runtime, "mean loss", np.array(found.loss), loss, noise, bound, size)


def _losses(logits: Array, labels: list[int]) -> Array:
    logits = logits.astype(np.float64)
    return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]
