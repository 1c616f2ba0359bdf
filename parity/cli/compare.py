"""Compares two recordings of `tinynet parity record`, where no framework need be installed. What
differs in configuration and environment comes first, since it is the usual cause of all else; then
the checks, with the bounds of the suite.

Given two files, it says whether they hold the same model. Checkpoints of any format are compared
tensor by tensor, those of training runs with all that they hold; an ONNX file by the logits of it
and of the other file, within the calibrated bound of rounding.

Examples:
  tinynet parity compare recordings/cuda recordings/ascend --report reports/two
  tinynet parity compare run/last.ckpt c.safetensors
  tinynet parity compare half.pth half.ckpt --weights-only
  tinynet parity compare c.ckpt c.onnx

checks of recordings:
  layers-isolated, layers-chained, logits, loss, gradients-chained, statistics, optimizer, ema,
  trajectory

fields of --json, beside those of the checks: for recordings differences (what, first, second,
meaning) and has_reference; for files same, outcome and notes.

exit status: 0 when they are the same, 1 when they are not, 2 when nothing can be said: a wrong
argument or file, or recordings of different things.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tinynet.cli.command import Parser, command_line, remark, report
from tinynet.cli.options import named_spec

from parity.cli import options as shared


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("first", metavar="A", help="a recording, a checkpoint or an ONNX file")
    add("second", metavar="B", help="another one")
    shared.add_shared(parser, "--checks", help="of recordings: comma-separated (default: all)")
    add("--report", metavar="DIR", help="of recordings: write parity.html and parity.json there")
    add("--spec", help="of files: the net, where neither names it")
    add("--ema", action="store_true", help="of training checkpoints: the averaged weights")
    add("--weights-only", action="store_true", help="of training checkpoints: the weights only")
    shared.add_shared(parser, "--calibrations", "--json")


def run(options: argparse.Namespace) -> int:
    paths = Path(options.first), Path(options.second)
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(2, "No such file or directory", str(path))
    if paths[0].is_dir() != paths[1].is_dir():
        raise ValueError(f"{paths[0]} and {paths[1]}: a folder and a file, expected two of a kind")
    return (_recordings if paths[0].is_dir() else _files)(options)


def _recordings(options: argparse.Namespace) -> int:
    from parity.checks import RECORDED
    from parity.recordings import compare as recordings
    from parity.recordings.format import read_recording
    from parity.report.page import differences, write_html
    from parity.report.text import format_check, format_report

    for name in ("spec", "ema", "weights_only"):
        if getattr(options, name):
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is for files, {options.first} is a recording")
    names = options.first, options.second
    first, second = map(read_recording, names)
    checks, bounds = shared.checks(options, RECORDED), shared.calibrations(options)
    command = command_line(options.words)
    comparison = recordings.compare_recordings(first, second, names, command, checks, bounds)
    found = comparison.report
    text = [recordings.format_differences(comparison), *map(format_check, found.checks)]
    document = recordings.comparison_document(comparison)
    report(options, document, "\n".join([*text, format_report(found)]))
    if options.report:
        extra = differences(comparison.differences, names)
        remark(options, f"report: {write_html(found, Path(options.report), extra)}")
    return 0 if found.passed else 1


def _files(options: argparse.Namespace) -> int:
    from parity.compare_files import compare_files, format_answer
    from parity.report.document import report_document

    for name in ("checks", "report"):
        if getattr(options, name):
            raise ValueError(f"--{name} is for recordings, {options.first} is a file")
    bounds, spec = shared.calibrations(options), named_spec(options)
    which, command = (options.ema, options.weights_only), command_line(options.words)
    answer = compare_files(options.first, options.second, bounds, spec, *which, command)
    document = {"same": answer.same, "outcome": answer.outcome, "notes": answer.notes}
    report(options, document | report_document(answer.report), format_answer(answer))
    return 0 if answer.same else 1
