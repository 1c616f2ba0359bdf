"""Batches to evaluate on: every image of a source once, in order, as a net wants it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tinynet.data.preprocessing import ImageError, Pixels, preprocess
from tinynet.data.sources import OnCorrupt, Source, naming
from tinynet.spec import Spec

Item = tuple[Pixels, int]  # float32 (C, H, W), label


class Dataset(Protocol):
    """What :func:`batches` needs: a length, and (input, label) by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...


class Batch(NamedTuple):
    """Some images of a data set, in its order.

    ``images`` is float32 (N, C, H, W); ``labels`` and ``indices``, the places in the data set, are
    int32 (N,).
    """

    images: Pixels
    labels: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int32]


class Prepared:
    """A source as a net is evaluated on it; indexing gives (float32 (C, H, W), label).

    Where corrupt images are skipped, one of them has zeros for pixels and the label -1, which
    :mod:`tinynet.training.evaluation` does not count, and ``skipped`` has its error, by index.
    """

    def __init__(self, source: Source, spec: Spec, on_corrupt: OnCorrupt = "stop"):
        self.spec = spec
        self.skipped: dict[int, str] = {}
        self._source = source
        self._on_corrupt = on_corrupt

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Item:
        try:
            image, label = self._source.image(index), self._source.label(index)
            with naming(self._source, index):
                return preprocess(image, self.spec), label
        except ImageError as error:
            if self._on_corrupt == "stop":
                raise
            self.skipped[index] = str(error)
            return _padding(self.spec)

    def name(self, index: int) -> str:
        """Returns what to call one image in messages."""
        return self._source.name(index)


class RankShard:
    """One rank's part of a data set: every ``ranks``-th image, from number ``rank``.

    All ranks have the same number, so that they evaluate the same number of batches: where images
    run out there are zeros with the label -1, which :mod:`tinynet.training.evaluation` does not
    count.
    """

    def __init__(self, dataset: Prepared, rank: int, ranks: int):
        if not 0 <= rank < ranks:
            raise ValueError(f"rank is {rank}, expected 0 to {ranks - 1}")
        self._dataset = dataset
        self._rank, self._ranks = rank, ranks

    def __len__(self) -> int:
        return -(-len(self._dataset) // self._ranks)

    def __getitem__(self, index: int) -> Item:
        place = self._rank + index * self._ranks
        return self._dataset[place] if place < len(self._dataset) else _padding(self._dataset.spec)

    def name(self, index: int) -> str:
        """Returns what to call one image, not padding, in messages."""
        return self._dataset.name(self._rank + index * self._ranks)


def batches(dataset: Dataset, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Goes through a data set once, in order.

    Args:
        dataset: the images.
        batch_size: images in a batch; the last one has what remains.
        workers: threads that decode about one batch ahead; 0 decodes in the caller's thread.
            Threads suffice because Pillow lets go of the interpreter's lock.

    Yields:
        Batches. What indexing raises, such as an ``ImageError``, is raised here.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected a whole number from 1")
    if workers < 0:
        raise ValueError(f"workers is {workers}, expected a whole number from 0")
    return _batches(dataset, batch_size, workers)


def _batches(dataset: Dataset, batch_size: int, workers: int) -> Iterator[Batch]:
    with closing(_decoded(dataset, workers, ahead=batch_size + workers)) as items:
        for start in range(0, len(dataset), batch_size):
            images, labels = zip(*itertools.islice(items, batch_size), strict=True)
            indices = np.arange(start, start + len(labels), dtype=np.int32)
            yield Batch(np.stack(images), np.array(labels, np.int32), indices)


def _decoded(dataset: Dataset, workers: int, ahead: int) -> Generator[Item, None, None]:
    if workers == 0:
        yield from map(dataset.__getitem__, range(len(dataset)))
        return
    pool = ThreadPoolExecutor(workers)
    try:
        indices = iter(range(len(dataset)))
        pending: deque[Future[Item]] = deque()
        while True:
            for index in itertools.islice(indices, ahead - len(pending)):
                pending.append(pool.submit(dataset.__getitem__, index))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        # Also when the consumer stops early: what is not needed is not decoded.
        pool.shutdown(cancel_futures=True)


def _padding(spec: Spec) -> Item:
    return np.zeros(spec.input_size, np.float32), -1
