"""How well a net does on a data set: the one loop and the one arithmetic for every runtime."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinynet.data.evaluation_batches import Dataset, batches
from tinynet.data.preprocessing import Pixels

# Normalised pixels (N, C, H, W) to logits (N, K), both float32.
Logits = npt.NDArray[np.float32]
Predict = Callable[[Pixels], Logits]

TOP = 5


class EvaluationError(ValueError):
    """An evaluation that has no result. The message is one line."""


class NotFiniteError(EvaluationError):
    """Logits that rank nothing. The message is one line."""


class TopClasses(NamedTuple):
    """The most probable classes of some images, best first.

    ``classes`` is int64 and ``probabilities`` float64, both (N, min(5, K)).
    """

    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]


class MetricSums(NamedTuple):
    """Sums over images, to be added up over ranks number by number.

    ``images`` were counted; the true class was the most probable one for ``hits1`` of them and
    among the five most probable for ``hits5``. ``loss`` is the sum of their cross-entropies in
    nats.
    """

    images: int
    hits1: int
    hits5: int
    loss: float

    @property
    def top1(self) -> float:
        """Percentage of images whose most probable class is right."""
        return 100 * self._mean(self.hits1)

    @property
    def top5(self) -> float:
        """Percentage of images that have the right class among the five most probable."""
        return 100 * self._mean(self.hits5)

    @property
    def mean_loss(self) -> float:
        """Mean cross-entropy in nats."""
        return self._mean(self.loss)

    @classmethod
    def of_total(cls, total: npt.NDArray[np.float64]) -> MetricSums:
        """Returns those of all ranks, from the total (4,) of their numbers."""
        images, hits1, hits5, loss = total.tolist()
        return cls(int(images), int(hits1), int(hits5), loss)

    def plus(self, other: MetricSums) -> MetricSums:
        """Adds those of other images."""
        return MetricSums.of_total(np.array(self, np.float64) + np.array(other, np.float64))

    def _mean(self, total: float) -> float:
        if self.images == 0:
            raise EvaluationError("there are no images to evaluate on")
        return total / self.images


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What came out. The data set's order is the order of ``labels`` and ``top``.

    An image with the label -1 was not counted. ``top1`` and ``top5`` are percentages, ``loss`` is
    the mean cross-entropy in nats, ``images_per_second`` is that of the whole loop: decoding, the
    first batch (in which a runtime may compile) and all.
    """

    top1: float
    top5: float
    loss: float
    images_per_second: float
    labels: npt.NDArray[np.int32]
    top: TopClasses

    @property
    def images(self) -> int:
        """How many images were counted."""
        return int((self.labels >= 0).sum())


def top_classes(logits: Logits) -> TopClasses:
    """Ranks the classes of each image, from finite logits (N, K).

    Equal logits rank by class, the lower one first, so that a tie has one answer everywhere.
    """
    order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    log_probabilities = _log_softmax(logits)
    return TopClasses(order, np.exp(np.take_along_axis(log_probabilities, order, axis=1)))


def check_finite(logits: Logits, names: Sequence[str]) -> None:
    """Refuses logits (N, K) that rank nothing; ``names`` are what to call the N images.

    Raises:
        NotFiniteError: naming the first image with a NaN or an infinity.
    """
    for name, finite in zip(names, np.isfinite(logits).all(axis=1), strict=True):
        if not finite:
            raise NotFiniteError(f"{name}: the net's logits hold a NaN or an infinity")


def evaluate(
    predict: Predict,
    dataset: Dataset,
    batch_size: int,
    workers: int = 0,
    on_batch: Callable[[int], object] | None = None,
    image_name: Callable[[int], str] = "image {}".format,
) -> Evaluation:
    """Goes through a data set once and counts every image exactly once.

    Images with the label -1, which stand for corrupt ones, are not counted.

    Args:
        predict: the net, in evaluation mode.
        dataset: the images, at least one.
        batch_size: how many ``predict`` gets at a time; the last batch has what remains.
        workers: threads that decode ahead.
        on_batch: called after each batch with the number of its images.
        image_name: what to call an image in errors, by its place in the data set.

    Raises:
        EvaluationError: no images, a label without a class, or logits that are of another shape
            than (N, K) or not finite.
        ValueError: what :func:`tinynet.data.evaluation_batches.batches` and the data set raise.
    """
    labels: list[npt.NDArray[np.int32]] = []
    tops: list[TopClasses] = []
    total = MetricSums(0, 0, 0, 0.0)
    start = time.perf_counter()
    for answered in _answered(predict, dataset, batch_size, workers, on_batch, image_name):
        total = total.plus(answered.sums)
        labels.append(answered.labels)
        tops.append(answered.top)
    seconds = time.perf_counter() - start
    return Evaluation(
        top1=total.top1,
        top5=total.top5,
        loss=total.mean_loss,
        images_per_second=total.images / seconds,
        labels=np.concatenate(labels),
        top=TopClasses(*(np.concatenate(parts) for parts in zip(*tops, strict=True))),
    )


def sum_metrics(
    predict: Predict,
    dataset: Dataset,
    batch_size: int,
    workers: int = 0,
    on_batch: Callable[[int], object] | None = None,
    image_name: Callable[[int], str] = "image {}".format,
) -> MetricSums:
    """Returns the sums that :func:`evaluate` divides, over one rank's data (``RankShard``).

    Raises:
        EvaluationError: a label without a class, or logits that are of another shape than (N, K)
            or not finite.
        ValueError: what :func:`tinynet.data.evaluation_batches.batches` and the data set raise.
    """
    total = MetricSums(0, 0, 0, 0.0)
    for answered in _answered(predict, dataset, batch_size, workers, on_batch, image_name):
        total = total.plus(answered.sums)
    return total


class _Answered(NamedTuple):
    labels: npt.NDArray[np.int32]
    top: TopClasses
    sums: MetricSums


def _answered(
    predict: Predict,
    dataset: Dataset,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], object] | None,
    image_name: Callable[[int], str],
) -> Iterator[_Answered]:
    for batch in batches(dataset, batch_size, workers):
        logits = predict(batch.images)
        if logits.ndim != 2 or len(logits) != len(batch.labels):
            raise EvaluationError(
                f"the net gives logits of shape {logits.shape} for {len(batch.labels)} images"
            )
        label, classes = batch.labels.max(), logits.shape[1]
        if label >= classes:
            raise EvaluationError(f"an image has the label {label}, the net has {classes} classes")
        counted = batch.labels >= 0
        # Whatever the net makes of zeros, it cannot disturb the others.
        logits = np.where(counted[:, None], logits, np.float32(0))
        check_finite(
            logits[counted], [image_name(index) for index in batch.indices[counted].tolist()]
        )
        top = top_classes(logits)
        hits = (top.classes == batch.labels[:, None])[counted]
        own = np.take_along_axis(_log_softmax(logits), batch.labels[:, None], axis=1)[counted]
        sums = MetricSums(
            images=int(counted.sum()),
            hits1=int(hits[:, 0].sum()),
            hits5=int(hits.sum()),
            loss=-float(own.sum()),
        )
        yield _Answered(batch.labels, top, sums)
        if on_batch is not None:
            on_batch(len(batch.labels))


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    # Less the largest first, so that no exponential overflows.
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
