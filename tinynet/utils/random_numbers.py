"""Counter-based random numbers: the same bits on every machine, in every order, in both twins.

A stream is named by its key (a seed and what else identifies it), not by how many numbers were
drawn before it. Only Philox's raw 64-bit output is used, which NumPy promises never to
change; the distributions are made here, since NumPy's own may change between releases.
"""

from __future__ import annotations

import hashlib
import math
import threading

import numpy as np
from numpy.typing import NDArray

Key = int | str


def uniform(shape: tuple[int, ...], *key: Key) -> NDArray[np.float64]:
    """Draws float64 numbers in [0, 1) from the stream named by ``key``."""
    # The upper 53 bits fill a float64's significand exactly.
    return ((_raw(math.prod(shape), key) >> np.uint64(11)) * 2.0**-53).reshape(shape)


def normal(shape: tuple[int, ...], *key: Key) -> NDArray[np.float64]:
    """Draws standard normal float64 numbers from the stream named by ``key`` (Box-Muller)."""
    count = math.prod(shape)
    pairs = (count + 1) // 2
    first, second = np.split(uniform((2 * pairs,), *key), 2)
    # 1 - first is in (0, 1]: the logarithm is finite.
    radius: NDArray[np.float64] = np.sqrt(-2.0 * np.log1p(-first))
    angle = 2.0 * np.pi * second
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape)


def _raw(count: int, key: tuple[Key, ...]) -> NDArray[np.uint64]:
    # A hash spreads any key over Philox's 128 key bits; repr keeps 1 and "1" apart.
    digest = hashlib.sha256("\0".join(map(repr, key)).encode()).digest()
    words = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    philox = _generators.philox
    start = _START.copy()
    start["state"] = {"counter": _COUNTER, "key": words}
    philox.state = start
    return np.asarray(philox.random_raw(count), dtype=np.uint64)


class _Generators(threading.local):
    # A new generator for every stream would first gather entropy for a seed that it does not use,
    # which takes three times as long as all the rest.
    def __init__(self):
        self.philox = np.random.Philox(key=0)


_generators = _Generators()
_COUNTER = np.zeros(4, np.uint64)
# The state of a generator that has drawn nothing.
_START = np.random.Philox(key=0).state
