"""Options that several commands have, each defined once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Protocol

from tinynet.cli.command import positive

if TYPE_CHECKING:
    from tinynet.spec import Spec

_BOTH = "torch.compile, or MindSpore's graph mode (default: no for torch, yes for mindspore)"
_PARTS = "most images that pass through the net of one process at once (default: all)"
_OFTEN = "write a checkpoint so often, besides after each epoch"
_CHANGE = "change the recipe, such as epochs=10 or schedule.learning_rate=0.1; repeatable"
_COMPUTED = "of convolutions and classifier (default: float32)"
_PRECISIONS = ("float32", "tf32", "bfloat16", "float16")  # tf32 with torch on cuda

# Name -> the settings that argparse takes.
OPTIONS: dict[str, dict[str, Any]] = {
    "--json": {"action": "store_true", "help": "report as one JSON object"},
    "--spec": {"help": "name (tinynet_c) or .json file, if not the file's own"},
    "--weights": {"required": True, "metavar": "FILE", "help": "a file that `convert` reads"},
    "--ema": {"action": "store_true", "help": "take the averaged weights, where FILE has both"},
    "--framework": {"choices": ("torch", "mindspore")},
    "--device": {"default": "cpu", "help": "cpu (the default), cuda for torch, gpu or ascend"},
    "--precision": {"choices": _PRECISIONS, "default": "float32", "help": _COMPUTED},
    "--compile": {"action": argparse.BooleanOptionalAction, "help": _BOTH},
    "--micro-batch": {"type": positive, "metavar": "N", "help": _PARTS},
    "--save-every": {"type": positive, "metavar": "STEPS", "help": _OFTEN},
    "--set": {"action": "append", "default": [], "metavar": "KEY=VALUE", "help": _CHANGE},
    "--classes-from-data": {"action": "store_true", "help": "give the net the classes of the data"},
}


class Adder(Protocol):
    """A parser, or a group of its options."""

    def add_argument(self, *names: str, **settings: Any) -> object: ...


def add_shared(parser: Adder, *names: str, **changes: Any) -> None:
    """Adds options of :data:`OPTIONS`, with some settings changed."""
    for name in names:
        parser.add_argument(name, **{**OPTIONS[name], **changes})


def named_spec(options: argparse.Namespace) -> Spec | None:
    """Loads the net that --spec names; raises what :func:`tinynet.spec.load_spec` raises."""
    from tinynet.spec import load_spec

    return load_spec(options.spec) if options.spec else None
