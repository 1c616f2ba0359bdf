"""A pool of processes, each of which keeps to processors of its own.

MindSpore's threads wait by yielding, over and over. Where those of two processes share two
processors, each job takes half as long again as where each process keeps to one of them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.queues import SimpleQueue

from tinynet.utils.processes import end_with_parent

Processors = frozenset[int]


def processor_shares(jobs: int) -> list[Processors]:
    """Deals the processors that this process may use to ``jobs`` others, at least one.

    Returns:
        A share for each, by the operating system's numbers; empty, which stands for all, where
        there are fewer processors than jobs, or where the system cannot bind processes.
    """
    bindable = hasattr(os, "sched_getaffinity")  # not on macOS, Windows
    processors = sorted(os.sched_getaffinity(0)) if bindable else []
    if len(processors) < jobs:
        return [frozenset()] * jobs
    return [frozenset(processors[index::jobs]) for index in range(jobs)]


def process_pool(shares: Sequence[Processors]) -> ProcessPoolExecutor:
    """Returns a pool with a process for each share of :func:`processor_shares`."""
    # The threads within a framework would wait for each other. Only new processes read this.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Not fork: a framework that has computed hangs in a child.
    context = multiprocessing.get_context("spawn")
    dealt = context.SimpleQueue()
    for share in shares:
        dealt.put(share)
    return ProcessPoolExecutor(len(shares), context, initializer=_settle, initargs=(dealt,))


def _settle(dealt: SimpleQueue[Processors]) -> None:
    end_with_parent()
    share = dealt.get()
    if share:
        os.sched_setaffinity(0, share)
