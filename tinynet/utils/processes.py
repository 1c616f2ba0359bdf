"""How many processors a process may use, and how it ends with the one that started it."""

from __future__ import annotations

import os
import threading


def processors() -> int:
    """Returns how many processors this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows, which cannot bind processes


def end_with_parent() -> None:
    """Makes this process end as soon as the one that started it has, killed or not.

    A worker of a pool would wait forever: it holds the other end of its own queue too.
    """
    # Imported here, since it takes time that processors() does not need.
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=end, args=[parent.sentinel], daemon=True).start()
