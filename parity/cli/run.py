"""Proves that the two twins of a spec are the same net, check by check."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.cli.command import Parser

from parity.cli.options import add_candidate_options, calibrations, candidates

if TYPE_CHECKING:
    from parity.results import CheckResult

# Jobs beside the suite itself: verb -> what it does. Each is parity/cli/VERB.py.
VERBS = {
    "audit": "compares every operator of a framework with its definition",
    "calibrate": "measures how large rounding is on a device, and the bounds that follow",
    "compare": "compares two recordings, or says whether two files hold the same model",
    "faults": "plants mistakes and counts how many are found, and where",
    "gate": "says whether every check was run and passed, for CI",
    "record": "makes a recording, where only one framework is installed",
}

DESCRIPTION = """\
Runs the parity suite for a spec: the same weights and pixels go through the PyTorch twin, the
MindSpore twin (PyNative and graph mode) and the ONNX files of both, and everything they compute
is held against a float64 run. Every bound is a multiple of float32 rounding noise measured in
the same run; parity/tolerances/bounds.py lists them with their reasons.

Without --weights, weights are made from a seed, with batch-norm statistics measured on a batch.
"""

EXAMPLES = """\
checks, in the suite's order:
  spec, parameters, pixels, layers-isolated, layers-chained, logits, loss, gradients-isolated,
  gradients-chained, statistics, schedule, optimizer, ema, trajectory, metrics, onnx, checkpoints,
  resume

examples:
  parity.py --spec tinynet_e                            all checks
  parity.py --spec tinynet_c --weights c.safetensors    with trained weights
  parity.py --spec my_net.json --checks parameters,logits
  parity.py --spec tinynet_e --report reports/e         and reports/e/parity.html
  parity.py --spec tinynet_e --modes pynative           quickly: without compiling graphs
  parity.py --spec tinynet_e --fail-fast --json         for a machine

exit status: 0 when every check passed, 1 when one failed, 2 for a wrong argument or file.
"""


def main(argv: list[str] | None = None) -> int:
    """Parses the arguments, runs the checks and reports it."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in VERBS:
        return importlib.import_module(f"parity.cli.{argv[0]}").main(argv[1:])
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tinynet.checkpoints.files import load_checkpoint
    from tinynet.spec import load_spec

    from parity.report.folder import write_html
    from parity.report.junit import report_suite, write_junit
    from parity.report.text import format_check, format_report
    from parity.results import report_document
    from parity.suite import CHECKS, run_checks

    spec = load_spec(options.spec) if options.spec else None
    if options.weights:
        checkpoint = load_checkpoint(options.weights, spec)
        spec, state = checkpoint.spec, checkpoint.state
    elif spec is None:
        raise ValueError("neither --spec nor --weights is given, expected at least one of them")
    else:
        state = None

    def show(check: CheckResult) -> None:
        print(format_check(check), file=sys.stderr if options.json else sys.stdout, flush=True)

    report = run_checks(
        spec,
        state,
        weights=options.weights or "",
        command=shlex.join(["python", "scripts/parity.py", *argv]),
        checks=options.checks.split(",") if options.checks else tuple(CHECKS),
        seed=options.seed,
        candidates=candidates(options),
        calibrations=calibrations(options),
        fail_fast=options.fail_fast,
        progress=show,
    )
    print(json.dumps(report_document(report)) if options.json else format_report(report))
    if options.report:
        page = write_html(report, Path(options.report))
        print(f"report: {page}", file=sys.stderr if options.json else sys.stdout)
    if options.junit:
        write_junit(options.junit, [report_suite(report)])
    return 0 if report.passed else 1


def _parse(argv: list[str] | None) -> argparse.Namespace:
    jobs = "".join(f"  {verb:<12}{does}\n" for verb, does in VERBS.items())
    parser = Parser(DESCRIPTION, f"{EXAMPLES}\nother jobs, each with a --help of its own:\n{jobs}")
    parser.add_argument("--spec", help="name of a shipped spec, or path of a JSON file")
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint; any that convert.py reads")
    parser.add_argument("--checks", "--levels", help="comma-separated checks to run (default: all)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of pixels, labels, weights (default 0)"
    )
    add_candidate_options(parser)
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first failing check")
    parser.add_argument("--report", metavar="DIR", help="write parity.html and parity.json there")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML, each check a test")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args(argv)
