"""Batches to train on, prepared ahead in worker processes.

Workers import this module, NumPy and Pillow, and what the data set needs, but neither the script
that runs nor a framework that it has loaded, after whose operations a fork would hang. What a
batch holds depends on seed, step and data alone, not on how many workers or ranks there are.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import types
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinynet.data import fast_engine
from tinynet.data.augment import augment
from tinynet.data.masks import draw_masks
from tinynet.data.preprocessing import ImageError
from tinynet.data.sampling import BatchingError, Sample, part_positions, samples_at
from tinynet.data.sources import OnCorrupt, Source, naming
from tinynet.recipe import Recipe
from tinynet.spec import Spec
from tinynet.utils.processes import end_with_parent

# Without sigwaitinfo (macOS) a worker could not tell who sends it SIGTERM.
_PARENTS_SIGNALS = (signal.SIGINT, signal.SIGTERM)[: 1 + hasattr(signal, "sigwaitinfo")]
# The message that asks a worker for a batch, and how many batches a worker is ahead: it prepares
# one while another waits to be taken.
_NEXT, _AHEAD = b"next", 2


class LoadingError(ValueError):
    """Worker processes that cannot do their work. The message is one line."""


class TrainingBatch(NamedTuple):
    """What passes through the net at once: N images of one rank's part of a step.

    ``images`` is uint8 (N, H, W, C), ``labels`` int32 (N,). ``dropout`` is float32 (N, head
    channels), ``drop_path`` float32 (N, blocks), as in :class:`tinynet.data.masks.Masks`.
    ``skipped`` has a message for each corrupt image that another replaces.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    dropout: npt.NDArray[np.float32] | None
    drop_path: npt.NDArray[np.float32] | None
    skipped: tuple[str, ...]


def load_batches(
    source: Source,
    spec: Spec,
    recipe: Recipe,
    seed: int,
    *,
    first_step: int,
    last_step: int,
    ranks: int = 1,
    rank: int = 0,
    accumulation: int = 1,
    workers: int = 0,
    on_corrupt: OnCorrupt = "stop",
) -> Generator[TrainingBatch, None, None]:
    """Prepares one rank's batches, ``accumulation`` of them for each step, in order.

    Closing the generator ends the workers. A worker whose parent was killed ends by itself.

    Args:
        source: the images. Workers need one that can be pickled and whose class is in a module,
            not in the script that runs.
        spec: the net.
        recipe: its batch size, augmentation and rates.
        seed: of the run.
        first_step: from 0.
        last_step: the step before which to stop.
        ranks: how many processes share a step.
        rank: which of them this is.
        accumulation: parts of each rank in one step; ``ranks * accumulation`` divides the batch.
        workers: processes that prepare batches; 0 prepares them in the caller's thread.
        on_corrupt: "stop" raises the error of an image that cannot be read; with "skip" the next
            image that can be read, by index, replaces it, with its own label.

    Yields:
        ``(last_step - first_step) * accumulation`` batches.

    Raises:
        BatchingError: the batch has no equal parts.
        EngineError: the recipe's engine is not installed.
        ImageError: an image cannot be read, or with "skip" all images.
        LoadingError: the source cannot be sent to worker processes, or one of them ended.
    """
    if recipe.augmentation.engine == "fast":
        fast_engine.check_engine()
    parts = ranks * accumulation
    if recipe.batch_size % parts:
        raise BatchingError(
            f"a batch of {recipe.batch_size} images has no {parts} equal parts, "
            f"{accumulation} for each of {ranks} processes"
        )
    job = _Job(
        source, spec, recipe, seed, on_corrupt, first_step, last_step, ranks, rank, accumulation
    )
    return _prepared_here(job) if workers == 0 else _prepared_ahead(job, workers)


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    """Arguments of :func:`load_batches`."""

    source: Source
    spec: Spec
    recipe: Recipe
    seed: int
    on_corrupt: OnCorrupt
    first_step: int
    last_step: int
    ranks: int
    rank: int
    accumulation: int

    @property
    def count(self) -> int:
        """Returns how many batches there are."""
        return (self.last_step - self.first_step) * self.accumulation

    def samples(self, number: int) -> list[Sample]:
        """Returns the samples of the batch with that number, from 0."""
        step, turn = divmod(number, self.accumulation)
        part, parts = turn * self.ranks + self.rank, self.ranks * self.accumulation
        positions = part_positions(self.first_step + step, self.recipe.batch_size, parts, part)
        return samples_at(positions, len(self.source), self.seed)


def _prepare(job: _Job, samples: list[Sample]) -> TrainingBatch:
    channels, height, width = job.spec.input_size
    images = np.empty((len(samples), height, width, channels), np.uint8)
    labels = np.empty(len(samples), np.int32)
    skipped: list[str] = []
    for place, sample in enumerate(samples):
        images[place], labels[place] = _readable(job, sample, skipped)
    masks = draw_masks(job.spec, job.recipe, job.seed, samples)
    return TrainingBatch(images, labels, masks.dropout, masks.drop_path, tuple(skipped))


def _readable(job: _Job, sample: Sample, skipped: list[str]) -> tuple[npt.NDArray[np.uint8], int]:
    """Returns an augmented image and its label: the sample's, or its stand-in's."""
    problem = ""
    for offset in range(len(job.source)):
        index = (sample.index + offset) % len(job.source)
        try:
            # The stand-in takes the random numbers of the image that it replaces.
            found = _augmented(job, index, sample)
        except ImageError as error:
            if job.on_corrupt == "stop":
                raise
            problem = problem or str(error)
        else:
            if problem:
                skipped.append(f"{problem}; {job.source.name(index)} stands in")
            return found
    raise ImageError(f"no image of the data set can be read; the first error: {problem}")


def _augmented(job: _Job, index: int, sample: Sample) -> tuple[npt.NDArray[np.uint8], int]:
    how = (job.spec, job.recipe.augmentation, job.seed, sample)
    if job.recipe.augmentation.engine == "fast":
        pixels = fast_engine.load_pixels(job.source, index, job.spec.input_size[0])
        with naming(job.source, index):
            made = fast_engine.augment_pixels(pixels, *how)
    else:
        image = job.source.image(index)
        with naming(job.source, index):
            made = augment(image, *how)
    return made, job.source.label(index)


def _prepared_here(job: _Job) -> Generator[TrainingBatch, None, None]:
    for number in range(job.count):
        yield _prepare(job, job.samples(number))


class _Worker(NamedTuple):
    """A process that prepares a batch for each message it is sent.

    Each has a pipe of its own. Whenever one is killed, no lock stays locked that others wait for,
    and its pipe ends, so that nothing waits for it forever.
    """

    process: BaseProcess
    pipe: Connection[bytes, TrainingBatch | Exception]


def _prepared_ahead(job: _Job, workers: int) -> Generator[TrainingBatch, None, None]:
    try:
        pickled = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise LoadingError(
            f"the data set cannot be sent to the processes that prepare images: {error}; "
            "--workers 0 needs none"
        ) from None
    pool: list[_Worker] = []
    try:
        with _isolated():
            for number in range(min(workers, job.count)):
                pool.append(_start(pickled, number, workers))
        for number in range(job.count):
            worker = pool[number % workers]
            try:
                found = worker.pipe.recv()
            except (EOFError, OSError):
                raise LoadingError(
                    "a process that prepares images ended unexpectedly (killed, perhaps for lack "
                    "of memory): fewer --workers need less"
                ) from None
            if isinstance(found, Exception):
                raise found
            if number + _AHEAD * workers < job.count:
                with suppress(OSError):  # that it has ended is found in its next turn
                    worker.pipe.send_bytes(_NEXT)
            yield found
    finally:
        with _interrupts_held():
            for worker in pool:
                worker.pipe.close()
                worker.process.terminate()
            for worker in pool:
                worker.process.join()


def _start(pickled: bytes, number: int, workers: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, pickled, number, workers), daemon=True)
    process.start()
    for _ in range(_AHEAD):
        pipe.send_bytes(_NEXT)
    theirs.close()
    return _Worker(process, pipe)


@contextmanager
def _interrupts_held() -> Generator[None, None, None]:
    """Delays Ctrl-C to the end of the block.

    Raised while processes start or end, KeyboardInterrupt could leave some of them. Blocking the
    signal is not enough: another thread of the process (NumPy's BLAS has some) would take it, and
    Python would still raise it in the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where Python raises nothing
        return
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append((number, frame))

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held and callable(before):
            before(*held[0])


@contextmanager
def _isolated() -> Generator[None, None, None]:
    """Keeps processes that start in the block from running the main script and from signals.

    The multiprocessing module would run the script in each of them, which may load a framework,
    start a training, or not find what it imports. Ctrl-C reaches every process of a terminal and a
    cluster's SIGTERM every process of a job, but the parent alone decides what they mean, and it
    needs more batches until then. A signal that is blocked here is blocked in new processes from
    their first instruction.
    """
    # The tracker unblocks these signals when it starts, which the first process would make it do.
    resource_tracker.ensure_running()
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS_SIGNALS)
    try:
        with _interrupts_held():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        sys.modules["__main__"] = main


def _work(
    pipe: Connection[TrainingBatch | Exception, bytes], pickled: bytes, number: int, workers: int
) -> None:
    end_with_parent()
    if signal.SIGTERM in _PARENTS_SIGNALS:
        threading.Thread(target=_end_when_terminated, daemon=True).start()
    with suppress(EOFError, OSError):  # the parent has ended, or taken enough
        try:
            job: _Job = pickle.loads(pickled)
        except Exception as error:
            pipe.send(
                LoadingError(
                    f"a process that prepares images cannot open the data set: "
                    f"{type(error).__name__}: {error}; --workers 0 needs no such process"
                )
            )
            return
        for mine in range(number, job.count, workers):
            pipe.recv_bytes()
            pipe.send(_prepared(job, mine))


def _prepared(job: _Job, number: int) -> TrainingBatch | Exception:
    try:
        return _prepare(job, job.samples(number))
    except Exception as error:
        if not isinstance(error, ValueError):  # a user's mistake, which needs one line
            error.add_note(traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return LoadingError(f"{type(error).__name__}: {error}")
        return error


def _end_when_terminated() -> None:
    # Only the parent's signal counts, and it ends this process at once.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(1)
