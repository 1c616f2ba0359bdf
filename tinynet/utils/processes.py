"""What a process may use, and what it owes to the one that started it."""

from __future__ import annotations

import os
import threading


def processors() -> int:
    """How many processors this process may use, from 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows, which bind no process to some


def end_with_parent() -> None:
    """Lets this process end as soon as the one that started it has, killed or not.

    A worker of a pool would wait for ever: it holds the other end of its own queue too.
    """
    # Here, since who only counts processors need not wait for it.
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_await_and_end, args=[parent.sentinel], daemon=True).start()


def _await_and_end(sentinel: int) -> None:
    from multiprocessing.connection import wait

    wait([sentinel])
    os._exit(1)
