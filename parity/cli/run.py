"""Runs the parity checks of a spec: the same weights and pixels go through the PyTorch twin, the
MindSpore twin (PyNative and graph mode) and the ONNX files of both, and everything they compute
is compared with a float64 run. Every bound is a multiple of float32 rounding noise measured in
the same run; parity/tolerances/bounds.py lists them with their reasons.

Without --weights, weights are made from a seed, with batch-norm statistics measured on a batch.

Examples:
  tinynet parity --spec tinynet_e                            all checks
  tinynet parity --spec tinynet_c --weights c.safetensors    with trained weights
  tinynet parity --spec my_net.json --checks parameters,logits
  tinynet parity --spec tinynet_e --report reports/e         and reports/e/parity.html
  tinynet parity --spec tinynet_e --modes pynative           quickly: without compiling graphs
  tinynet parity --spec tinynet_e --fail-fast --json         for a machine

checks, in the order in which they run:
  spec, parameters, pixels, layers-isolated, layers-chained, logits, loss, gradients-isolated,
  gradients-chained, statistics, schedule, optimizer, ema, trajectory, metrics, onnx, checkpoints,
  resume

exit status: 0 when every check passed, 1 when one failed, 2 for a wrong argument or file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.cli.command import Parser, command_line, remark, report

from parity.cli import options as shared

if TYPE_CHECKING:
    from parity.results import CheckResult

# Verb -> what it does. Each is parity/cli/VERB.py.
VERBS = {
    "audit": "compares every operator of a framework with its definition",
    "calibrate": "measures how large rounding is on a device, and the bounds that follow",
    "compare": "compares two recordings, or two files that may hold the same model",
    "faults": "plants mistakes and counts how many are found, and where",
    "gate": "decides whether every check was run and passed, for CI",
    "record": "records what one framework computes, where it is the only one installed",
}


def add_arguments(parser: Parser) -> None:
    shared.add_shared(parser, "--spec", "--weights", "--checks")
    add = parser.add_argument
    add("--seed", type=int, default=0, metavar="N", help="of pixels, labels, weights (default: 0)")
    shared.add_shared(parser, "--framework", "--modes", "--device", "--precision", "--calibrations")
    add("--fail-fast", action="store_true", help="stop at the first failing check")
    add("--report", metavar="DIR", help="write parity.html and parity.json there")
    shared.add_shared(parser, "--junit", "--json")
    title = "other jobs, each with a --help of its own"
    verbs = parser.add_subparsers(title=title, dest="verb", metavar="VERB")
    for verb, does in VERBS.items():
        verbs.add_parser(verb, module=f"parity.cli.{verb}", help=does)


def run(options: argparse.Namespace) -> int:
    from parity.checks import CHECKS
    from parity.report.document import report_document
    from parity.report.junit import report_suite, write_junit
    from parity.report.page import write_html
    from parity.report.text import format_check, format_report
    from parity.suite import run_checks

    missing = "neither --spec nor --weights is given, expected at least one of them"
    spec, checkpoint = shared.named_net(options, missing)

    def show(check: CheckResult) -> None:
        remark(options, format_check(check))

    found = run_checks(
        spec,
        checkpoint.state if checkpoint else None,
        weights=options.weights or "",
        command=command_line(options.words),
        checks=shared.checks(options, CHECKS),
        seed=options.seed,
        candidates=shared.candidates(options),
        calibrations=shared.calibrations(options),
        fail_fast=options.fail_fast,
        progress=show,
    )
    report(options, report_document(found), format_report(found))
    if options.report:
        remark(options, f"report: {write_html(found, Path(options.report))}")
    if options.junit:
        write_junit(options.junit, [report_suite(found)])
    return 0 if found.passed else 1
