"""The only way from here to a twin."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

# The twin's name, which is also its framework's package and its pip extra -> what people call it.
FRAMEWORKS = {"torch": "PyTorch", "mindspore": "MindSpore"}
# The twin that is also run in float64, which MindSpore has no convolution for.
REFERENCE = "torch"


class BackendError(ValueError):
    """A twin that does not exist, or whose framework is not there. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """A twin's modules as attributes, each imported when it is first asked for.

    Example:
        >>> load_backend("torch").state.read_state(net)
    """

    name: str

    def __getattr__(self, module: str) -> Any:
        if module.startswith("__"):  # what copy, pickle and inspect look for
            raise AttributeError(module)
        return importlib.import_module(f"{self.name}_impl.{module}")


def load_backend(name: str) -> Backend:
    """The twin of that name: ``torch`` or ``mindspore``.

    Raises:
        BackendError: no such twin, or its framework is not installed.
    """
    if name not in FRAMEWORKS:
        raise BackendError(f"{name}: no such twin, expected one of {', '.join(FRAMEWORKS)}")
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise BackendError(
            f"{FRAMEWORKS[name]} is needed here and cannot be imported ({error}): "
            f"pip install 'tinynet-twins[{name}]'"
        ) from None
    return Backend(name)
