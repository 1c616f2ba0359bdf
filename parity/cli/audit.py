r"""Runs every primitive that a twin is made of, one by one, forward and back, on sizes from 1 to 33
and on a large batch, and compares the results with their definitions in float64. Errors are counted
in units of rounding: 2^-24 times the size of the terms that a number is a sum of. Of optimizers,
also of those that the framework brings along, it finds out which formula they follow, number by
number.

Needs the one framework only. With --compare, which needs none, it compares two audits.

Examples:
  tinynet parity audit --framework mindspore
  tinynet parity audit --framework mindspore --device ascend --output audits
  tinynet parity audit --framework torch --operators sigmoid,SiLU --sizes 1-9,16,17
  tinynet parity audit --compare audits/torch-2.13.0-cpu.json audits/mindspore-2.10.0-cpu.json
  tinynet parity audit --compare audits/torch-2.13.0-cpu.json audits/torch-2.13.0-cuda.json \
                       --report out

exit status: 0 when audited or compared, 2 for a wrong argument or file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tinynet.cli.command import Parser, UsageError, command_line, remark, report

from parity.cli.options import add_shared


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--framework", choices=("mindspore", "torch"), help="what is audited; must be installed")
    add("--operators", help="comma-separated (default: all)")
    add("--sizes", help="such as 1-9,16,17 (default: 1-33)")
    add("--output", metavar="DIR", help="write a file named after framework, version and device")
    add("--compare", nargs=2, metavar=("FIRST", "SECOND"), help="two audits that were written")
    add("--report", metavar="DIR", help="with --compare: write operators.html there")
    add_shared(parser, "--device", "--json")


def run(options: argparse.Namespace) -> int:
    if bool(options.framework) == bool(options.compare):
        raise UsageError("either --framework or --compare is needed, and not both")
    if options.compare:
        _compare(options)
    else:
        _audit(options)
    return 0


def _audit(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from parity.audit.compare import format_audit
    from parity.audit.results import audit_document, save_audit
    from parity.audit.run import OPERATORS, SIZES, audit

    operators = options.operators.split(",") if options.operators else list(OPERATORS)
    sizes = _sizes(options.sizes) if options.sizes else SIZES
    command = command_line(options.words)
    with tqdm(total=len(operators), unit=" operators", disable=None) as bar:

        def show(operator: str) -> None:
            bar.set_postfix_str(operator)
            bar.update()

        found = audit(options.framework, options.device, sizes, operators, command, show)
    report(options, audit_document(found), format_audit(found))
    if options.output:
        remark(options, f"audit: {save_audit(found, Path(options.output))}")


def _compare(options: argparse.Namespace) -> None:
    from parity.audit.compare import comparison_document, format_comparison
    from parity.audit.page import write_comparison
    from parity.audit.results import load_audit

    first, second = (load_audit(Path(path)) for path in options.compare)
    report(options, comparison_document(first, second), format_comparison(first, second))
    if options.report:
        remark(options, f"report: {write_comparison(first, second, Path(options.report))}")


def _sizes(text: str) -> list[int]:
    sizes: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise ValueError(f"--sizes has {part!r}, expected a number or a range such as 1-9")
        sizes += range(int(low), int(high or low) + 1)
    return sizes
