"""TinyNets and their relatives: one JSON spec for each net, two frameworks, one recipe for both.

What most programs need is here by name. It is imported when it is first used: neither a framework
nor NumPy comes with ``import tinynet``.

Example:
    >>> import tinynet
    >>> tinynet.count(tinynet.load_spec("tinynet_e")).macs
    24356848
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinynet.backend import load_backend as load_backend
    from tinynet.checkpoints.conversion import convert as convert
    from tinynet.checkpoints.files import load_checkpoint as load_checkpoint
    from tinynet.checkpoints.files import save_checkpoint as save_checkpoint
    from tinynet.data.labels import class_names as class_names
    from tinynet.data.preprocessing import load_input as load_input
    from tinynet.net.complexity import count as count
    from tinynet.net.twist import derive as derive
    from tinynet.recipe import load_recipe as load_recipe
    from tinynet.spec import list_specs as list_specs
    from tinynet.spec import load_spec as load_spec
    from tinynet.training.evaluation import evaluate as evaluate
    from tinynet.training.loop import train as train

__version__ = "0.1.0"

_MODULES = {
    "class_names": "tinynet.data.labels",
    "convert": "tinynet.checkpoints.conversion",
    "count": "tinynet.net.complexity",
    "derive": "tinynet.net.twist",
    "evaluate": "tinynet.training.evaluation",
    "list_specs": "tinynet.spec",
    "load_backend": "tinynet.backend",
    "load_checkpoint": "tinynet.checkpoints.files",
    "load_input": "tinynet.data.preprocessing",
    "load_recipe": "tinynet.recipe",
    "load_spec": "tinynet.spec",
    "save_checkpoint": "tinynet.checkpoints.files",
    "train": "tinynet.training.loop",
}


if not TYPE_CHECKING:  # where a misspelt name is to be an error

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
