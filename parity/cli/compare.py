"""Compares two recordings, or says whether two files hold the same model."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from tinynet.cli.command import Parser

DESCRIPTION = """\
Compares two recordings from `parity.py record`, where neither framework need be installed. What
differs in configuration and environment comes first, since it is the usual cause of all else; then
the checks of the suite, with its bounds.

Given two files, it says whether they hold the same model. Checkpoints of any format are compared
tensor by tensor, those of training runs with all that they hold; an ONNX file by the logits of it
and of the other file, within the calibrated bound of rounding.
"""

EXAMPLES = """\
examples:
  parity.py compare recordings/cuda recordings/ascend --report reports/two
  parity.py compare run/last.ckpt c.safetensors
  parity.py compare half.pth half.ckpt --weights-only
  parity.py compare c.ckpt c.onnx

checks of recordings:
  layers-isolated, layers-chained, logits, loss, gradients-chained, statistics, optimizer, ema,
  trajectory

fields of --json, beside those of the suite: for recordings differences (what, first, second,
meaning) and has_reference; for files same, outcome and notes.

exit status: 0 when they are the same, 1 when they are not, 2 when nothing can be said: a wrong
argument or file, or recordings that were recorded from different things.
"""


def main(argv: list[str]) -> int:
    """Parses the arguments and compares what they name."""
    options = _parse(argv)
    paths = Path(options.first), Path(options.second)
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(2, "No such file or directory", str(path))
    if paths[0].is_dir() != paths[1].is_dir():
        raise ValueError(f"{paths[0]} and {paths[1]}: a folder and a file, expected two of a kind")
    command = shlex.join(["python", "scripts/parity.py", "compare", *argv])
    return (_recordings if paths[0].is_dir() else _files)(options, command)


def _recordings(options: argparse.Namespace, command: str) -> int:
    from parity.recordings.comparison import (
        RECORDED,
        compare_recordings,
        comparison_document,
        format_differences,
    )
    from parity.recordings.format import read_recording
    from parity.report.differences import differences
    from parity.report.folder import write_html
    from parity.report.text import format_check, format_report
    from parity.tolerances.calibration import DIRECTORY

    for name in ("spec", "ema", "weights_only"):
        if getattr(options, name):
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is for files, {options.first} is a recording")
    comparison = compare_recordings(
        read_recording(options.first),
        read_recording(options.second),
        (options.first, options.second),
        command,
        options.checks.split(",") if options.checks else RECORDED,
        Path(options.calibrations) if options.calibrations else DIRECTORY,
    )
    report = comparison.report
    if options.json:
        print(json.dumps(comparison_document(comparison)))
    else:
        print(format_differences(comparison), *map(format_check, report.checks), sep="\n")
        print(format_report(report))
    if options.report:
        names = options.first, options.second
        page = write_html(report, Path(options.report), differences(comparison.differences, names))
        print(f"report: {page}", file=sys.stderr if options.json else sys.stdout)
    return 0 if report.passed else 1


def _files(options: argparse.Namespace, command: str) -> int:
    from tinynet.spec import load_spec

    from parity.compare_files import compare_files, format_answer
    from parity.results import report_document
    from parity.tolerances.calibration import DIRECTORY

    for name in ("checks", "report"):
        if getattr(options, name):
            raise ValueError(f"--{name} is for recordings, {options.first} is a file")
    answer = compare_files(
        options.first,
        options.second,
        Path(options.calibrations) if options.calibrations else DIRECTORY,
        load_spec(options.spec) if options.spec else None,
        options.ema,
        options.weights_only,
        command,
    )
    if options.json:
        found = {"same": answer.same, "outcome": answer.outcome, "notes": answer.notes}
        print(json.dumps({**found, **report_document(answer.report)}))
    else:
        print(format_answer(answer))
    return 0 if answer.same else 1


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.prog = "parity.py compare"
    parser.add_argument("first", metavar="A", help="a recording, a checkpoint or an ONNX file")
    parser.add_argument("second", metavar="B", help="another one")
    parser.add_argument(
        "--checks", "--levels", help="of recordings: comma-separated checks (default: all)"
    )
    parser.add_argument(
        "--report", metavar="DIR", help="of recordings: write parity.html and parity.json there"
    )
    parser.add_argument("--spec", help="of files: the net, where neither says it")
    parser.add_argument(
        "--ema", action="store_true", help="of training checkpoints: the averaged weights"
    )
    parser.add_argument(
        "--weights-only", action="store_true", help="of training checkpoints: the weights only"
    )
    parser.add_argument(
        "--calibrations", metavar="DIR", help="where bounds are taken from (default: as shipped)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args(argv)
