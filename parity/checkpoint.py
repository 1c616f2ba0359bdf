"""The names of release 0.1 for what is in :mod:`tinynet.checkpoints.files` now."""

import warnings
from typing import Any

from tinynet.checkpoints import files


def __getattr__(name: str) -> Any:
    found = getattr(files, name)
    here, there = f"parity.checkpoint.{name}", f"tinynet.checkpoints.files.{name}"
    warnings.warn(f"{here} is {there} now", DeprecationWarning, stacklevel=2)
    return found
