"""The ways in which the PyTorch twin can run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MODES = ("eager",)


@contextmanager
def running(mode: str) -> Iterator[None]:
    """Runs what is inside in one of :data:`MODES`.

    Raises:
        ValueError: another mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
    yield
