"""The twin in PyTorch (CUDA, CPU).

Deviations of the framework that this package hides: ``nn.Conv2d`` cannot pad one side more than
the other (``blocks.py``); batch norm carries ``num_batches_tracked``, which is no part of a
canonical state (``model.py``).
"""

import ctypes
import os

# glibc's allocator gives large blocks back to the system as soon as they are freed, and a step on
# a CPU, which frees all its activations, spends a third of its time on getting them again. These
# settings keep them in the process: never by mmap, never trimmed. Whoever sets the allocator in the
# environment knows better. Source: mallopt(3); the numbers are those of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
if not {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"} & set(os.environ):
    _libc = ctypes.CDLL(None)
    if hasattr(_libc, "mallopt"):  # musl and macOS have none
        _libc.mallopt(_MMAP_MAX, 0)
        _libc.mallopt(_TRIM_THRESHOLD, -1)
