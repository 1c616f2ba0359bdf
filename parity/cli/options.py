"""Options that several verbs have, each defined once, and what they name."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.options import OPTIONS, Adder, named_spec

if TYPE_CHECKING:
    from tinynet.checkpoints.files import Checkpoint
    from tinynet.spec import Spec

    from parity.candidates import Candidate

_COMPARED = "what is compared with PyTorch in float64 (default: mindspore)"
_PRECISIONS = "float32 (the default), tf32, bfloat16, float16, as far as the framework has it"
_OPTIONS: dict[str, dict[str, Any]] = {
    "--spec": {"help": "name of a shipped spec, or path of a JSON file"},
    "--weights": {"metavar": "FILE", "help": "a checkpoint that `convert` reads"},
    "--framework": {"choices": ("mindspore", "torch"), "default": "mindspore", "help": _COMPARED},
    "--modes": {"metavar": "A,B", "help": "MindSpore's are pynative, graph (default: all)"},
    "--device": OPTIONS["--device"],
    "--precision": {"default": "float32", "metavar": "NAME", "help": _PRECISIONS},
    "--calibrations": {"metavar": "DIR", "help": "folder of bounds (default: the shipped ones)"},
    "--checks": {"metavar": "A,B", "help": "comma-separated checks (default: all)"},
    "--jobs": {"type": int, "default": 1, "metavar": "N", "help": "at a time (default: 1)"},
    "--junit": {"metavar": "FILE", "help": "write JUnit XML, each check a test"},
    "--json": OPTIONS["--json"],
}
# Names of release 0.1.
_ALIASES = {"--checks": "--levels"}


def add_shared(parser: Adder, *names: str, **changes: Any) -> None:
    """Adds options that several verbs have, with some settings changed."""
    for name in names:
        alias = [_ALIASES[name]] if name in _ALIASES else []
        parser.add_argument(name, *alias, **{**_OPTIONS[name], **changes})


def named_net(options: argparse.Namespace, missing: str) -> tuple[Spec, Checkpoint | None]:
    """Loads the net that --spec and --weights name, and the weights where there are some.

    A ValueError says ``missing`` where they name neither, or that the file is not a checkpoint.
    """
    from tinynet.checkpoints.files import load_checkpoint

    spec = named_spec(options)
    if options.weights:
        checkpoint = load_checkpoint(options.weights, spec)
        return checkpoint.spec, checkpoint
    if spec is None:
        raise ValueError(missing)
    return spec, None


def candidates(options: argparse.Namespace) -> list[Candidate]:
    """Returns the candidates that the options name, by :func:`parity.candidates.candidates_of`."""
    from parity.candidates import candidates_of

    modes = options.modes.split(",") if options.modes else ()
    return candidates_of(options.framework, modes, options.device, options.precision)


def calibrations(options: argparse.Namespace) -> Path:
    """Returns the folder that bounds are taken from."""
    from parity.tolerances.calibration import DIRECTORY

    return Path(options.calibrations) if options.calibrations else DIRECTORY


def checks(options: argparse.Namespace, every: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of the checks to run, by default every one."""
    return tuple(options.checks.split(",") if options.checks else every)
