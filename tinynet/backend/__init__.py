"""The only way from here to a twin: its modules, typed, and the values that both twins give.

The modules are protocols, in protocols.py and probing.py, and documented there once for both.
"""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType
from typing import Protocol, cast

from tinynet.backend.probing import Probe
from tinynet.backend.protocols import (
    Distributed,
    Export,
    Model,
    NativeFiles,
    Predict,
    Step,
    Tuning,
)

# The twin's name, which is also its framework's package and its pip extra -> what people call it.
FRAMEWORKS = {"torch": "PyTorch", "mindspore": "MindSpore"}
# The twin that is also run in float64, which MindSpore has no convolution for.
REFERENCE = "torch"


class BackendError(ValueError):
    """A twin that does not exist, or whose framework is not there. The message is one line."""


class Backend(Protocol):
    """A twin: its modules, each imported when it is first asked for.

    What builds a net layer by layer (``blocks``, ``loss``, ``optim``, ``data``) has the same names
    in both twins, which tests/backends/test_laws.py holds, but only the framework's own types.

    Example:
        >>> twin = load_backend("torch")
        >>> twin.model.read_state(twin.model.make_net(spec))
    """

    name: str
    blocks: ModuleType
    model: Model
    loss: ModuleType
    optim: ModuleType
    step: Step
    distributed: Distributed
    data: ModuleType
    predict: Predict
    export: Export
    native_files: NativeFiles
    tuning: Tuning
    probe: Probe


@dataclasses.dataclass(frozen=True, slots=True)
class _Twin:
    name: str

    def __getattr__(self, module: str) -> ModuleType:
        if module not in Backend.__annotations__:
            raise AttributeError(f"the twins have no {module}")
        return importlib.import_module(f"{self.name}_impl.{module}")


def load_backend(name: str, tune: bool = False) -> Backend:
    """Returns the twin of that name: ``torch`` or ``mindspore``.

    Args:
        name: of the twin.
        tune: set this process up for it first, as :meth:`Tuning.tune_process` does.

    Raises:
        BackendError: no such twin, or its framework is not installed.
    """
    if name not in FRAMEWORKS:
        raise BackendError(f"{name}: no such twin, expected one of {', '.join(FRAMEWORKS)}")
    twin = cast(Backend, _Twin(name))
    try:
        if tune:  # before the framework is there, since it reads its environment once
            twin.tuning.tune_process()
        importlib.import_module(name)
    except ImportError as error:
        raise BackendError(
            f"{FRAMEWORKS[name]} is needed here and cannot be imported ({error}): "
            f"pip install 'tinynet-twins[{name}]'"
        ) from None
    return twin
