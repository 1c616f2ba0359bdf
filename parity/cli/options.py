"""Options that several verbs have, each defined once, and what they name."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.cli.options import Adder, named_spec

if TYPE_CHECKING:
    from tinynet.checkpoints.files import Checkpoint
    from tinynet.spec import Spec

    from parity.context import Candidate


def add_net(parser: Adder) -> None:
    """Adds --spec and --weights, which :func:`named_net` loads."""
    parser.add_argument("--spec", help="name of a shipped spec, or path of a JSON file")
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint that `convert` reads")


def named_net(options: argparse.Namespace, missing: str) -> tuple[Spec, Checkpoint | None]:
    """Loads the net that the options name, and its weights where they name some.

    Raises:
        ValueError: ``missing``, if they name neither; or the file is not a checkpoint.
    """
    from tinynet.checkpoints.files import load_checkpoint

    spec = named_spec(options)
    if options.weights:
        checkpoint = load_checkpoint(options.weights, spec)
        return checkpoint.spec, checkpoint
    if spec is None:
        raise ValueError(missing)
    return spec, None


def add_setting(parser: Adder, what: str, usual: str | None = "mindspore") -> None:
    """Adds --framework, --device and --precision.

    Args:
        parser: of the verb.
        what: what the framework is named for.
        usual: the default; without one, --framework is required.
    """
    default = f" (default: {usual})" if usual else ""
    frameworks = ("mindspore", "torch")
    parser.add_argument(
        "--framework",
        choices=frameworks,
        required=usual is None,
        default=usual,
        help=what + default,
    )
    add_device(parser)
    precision = "float32, tf32, bfloat16, float16, as far as the framework has it"
    parser.add_argument("--precision", default="float32", help=f"{precision} (default: float32)")


def add_device(parser: Adder) -> None:
    """Adds --device."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, gpu, ascend (default: cpu)")


def add_modes(parser: Adder) -> None:
    """Adds --modes."""
    modes = "of the framework; MindSpore's are pynative, graph (default: all)"
    parser.add_argument("--modes", metavar="A,B", help=modes)


def add_calibrations(parser: Adder) -> None:
    """Adds --calibrations."""
    shipped = "where bounds are taken from (default: the shipped ones)"
    parser.add_argument("--calibrations", metavar="DIR", help=shipped)


def add_checks(parser: Adder, what: str) -> None:
    """Adds --checks, which was --levels in earlier releases."""
    parser.add_argument("--checks", "--levels", metavar="A,B", help=f"{what} (default: all)")


def add_jobs(parser: Adder, what: str) -> None:
    """Adds --jobs."""
    parser.add_argument("--jobs", type=int, default=1, help=f"{what} at a time (default: 1)")


def add_junit(parser: Adder) -> None:
    """Adds --junit."""
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML, each check a test")


def candidates(options: argparse.Namespace) -> list[Candidate]:
    """Returns the candidates that the options name.

    Raises:
        ValueError: what :func:`parity.context.candidates_of` raises.
    """
    from parity.context import candidates_of

    modes = options.modes.split(",") if options.modes else ()
    return candidates_of(options.framework, modes, options.device, options.precision)


def calibrations(options: argparse.Namespace) -> Path:
    """Returns the folder that bounds are taken from."""
    from parity.tolerances.calibration import DIRECTORY

    return Path(options.calibrations) if options.calibrations else DIRECTORY


def checks(options: argparse.Namespace, every: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of the checks to run, by default every one."""
    return tuple(options.checks.split(",") if options.checks else every)
