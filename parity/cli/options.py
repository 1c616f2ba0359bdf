"""The options that say what is to be proven, for every job that runs the checks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.context import Candidate


def add_candidate_options(parser: argparse.ArgumentParser) -> None:
    """Adds what names the candidates, and where their bounds are taken from."""
    parser.add_argument(
        "--framework", choices=("mindspore", "torch"), default="mindspore",
        help="what is held against the judge, PyTorch in float64 (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--modes", help="of the framework; MindSpore's are pynative, graph (default: all)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, gpu, ascend (default cpu)")
    parser.add_argument(
        "--precision", default="float32",
        help="float32, tf32, bfloat16, float16, as far as the framework has it (default float32)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrations", metavar="DIR", help="where bounds are taken from (default: as shipped)"
    )


def candidates(options: argparse.Namespace) -> list[Candidate]:
    """The candidates that the options name.

    Raises:
        ValueError: what :func:`parity.context.subjects_of` raises.
    """
    from parity.context import candidates_of

    modes = options.modes.split(",") if options.modes else ()
    return candidates_of(options.framework, modes, options.device, options.precision)


def calibrations(options: argparse.Namespace) -> Path:
    """The folder that bounds are taken from."""
    from parity.tolerances.calibration import DIRECTORY

    return Path(options.calibrations) if options.calibrations else DIRECTORY
