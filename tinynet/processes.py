"""What a process owes to the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Lets this process end as soon as the one that started it has, killed or not.

    A worker of a pool would wait for ever: it holds the other end of its own queue too.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_await_and_end, args=[parent.sentinel], daemon=True).start()


def _await_and_end(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
