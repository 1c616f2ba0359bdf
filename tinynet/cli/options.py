"""Options that several commands have, each defined once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Protocol

from tinynet.cli.command import positive

if TYPE_CHECKING:
    from tinynet.spec import Spec

# tf32 is for torch on cuda.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


class Adder(Protocol):
    """A parser, or a group of its options."""

    def add_argument(self, *names: str, **settings: Any) -> object:
        """Adds an argument, as ``argparse`` does."""
        ...


def add_json(parser: Adder, what: str = "object") -> None:
    """Adds --json."""
    parser.add_argument("--json", action="store_true", help=f"report as one JSON {what}")


def add_spec(parser: Adder, remark: str) -> None:
    """Adds --spec, which :func:`named_spec` loads."""
    parser.add_argument("--spec", help=f"name (tinynet_c) or .json file{remark}")


def named_spec(options: argparse.Namespace) -> Spec | None:
    """Loads the net that --spec names.

    Raises:
        ValueError: what :func:`tinynet.spec.load_spec` raises.
    """
    from tinynet.spec import load_spec

    return load_spec(options.spec) if options.spec else None


def add_weights(parser: Adder, what: str) -> None:
    """Adds --weights, --ema and --spec."""
    parser.add_argument("--weights", required=True, metavar="FILE", help=what)
    parser.add_argument("--ema", action="store_true", help="averaged weights, where FILE has both")
    add_spec(parser, ", if not the file's own")


def add_device(parser: Adder) -> None:
    """Adds --device."""
    names = "cpu; cuda for torch; gpu or ascend for mindspore"
    parser.add_argument("--device", default="cpu", help=f"{names} (default: cpu)")


def add_training(parser: Adder, precisions: tuple[str, ...] = PRECISIONS) -> None:
    """Adds what says how a training is carried out: --device to --save-every."""
    add_device(parser)
    precision = "of convolutions and classifier (default: float32)"
    parser.add_argument("--precision", default="float32", choices=precisions, help=precision)
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="torch.compile, or MindSpore's graph mode (default: no for torch, yes for mindspore)",
    )
    most = "most images that pass through the net of one process at once (default: all)"
    parser.add_argument("--micro-batch", type=positive, metavar="N", help=most)
    often = "write a checkpoint so often, besides after each epoch"
    parser.add_argument("--save-every", type=positive, metavar="STEPS", help=often)


def add_recipe_changes(parser: Adder) -> None:
    """Adds --set and --classes-from-data."""
    example = "epochs=10 or schedule.learning_rate=0.1"
    changes = f"change the recipe, such as {example}; repeatable"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=changes)
    classes = "give the net the classes of the data instead of its own"
    parser.add_argument("--classes-from-data", action="store_true", help=classes)
