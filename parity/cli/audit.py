"""``parity.py audit``: every primitive operator of a twin against its definition."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from tinynet.cli.command import Parser

DESCRIPTION = """\
Runs every primitive that a twin is made of, one by one, forward and back, on sizes from 1 to 33
and on a large batch, and holds the results against their definitions in float64. Errors are
counted in units of rounding: 2^-24 times the size of the terms that a number is a sum of. Of
optimizers, also of those that the framework brings along, it finds out which formula they follow,
number by number.

Needs the one framework only. With --compare, which needs none, it puts two audits side by side.
"""

EXAMPLES = """\
examples:
  parity.py audit --framework mindspore
  parity.py audit --framework mindspore --device ascend --output audits
  parity.py audit --framework torch --operators sigmoid,SiLU --sizes 1-9,16,17
  parity.py audit --compare audits/torch-2.13.0-cpu.json audits/mindspore-2.10.0-cpu.json
  parity.py audit --compare audits/torch-2.13.0-cpu.json audits/torch-2.13.0-cuda.json --report out

exit status: 0 when audited or compared, 2 for a wrong argument or file.
"""


def main(argv: list[str]) -> int:
    """Parses the arguments, and audits or compares."""
    options = _parse(argv)
    return _compare(options) if options.compare else _audit(options, argv)


def _audit(options: argparse.Namespace, argv: list[str]) -> int:
    from tqdm import tqdm

    from parity.audit.compare import format_audit
    from parity.audit.results import audit_document, save_audit
    from parity.audit.run import OPERATORS, SIZES, audit

    operators = options.operators.split(",") if options.operators else list(OPERATORS)
    sizes = _sizes(options.sizes) if options.sizes else SIZES
    command = shlex.join(["python", "scripts/parity.py", "audit", *argv])
    with tqdm(total=len(operators), unit=" operators", disable=None) as bar:

        def show(operator: str) -> None:
            bar.set_postfix_str(operator)
            bar.update()

        found = audit(options.framework, options.device, sizes, operators, command, show)
    print(json.dumps(audit_document(found)) if options.json else format_audit(found))
    if options.output:
        path = save_audit(found, Path(options.output))
        print(f"audit: {path}", file=sys.stderr if options.json else sys.stdout)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from parity.audit.compare import comparison_document, format_comparison
    from parity.audit.page import write_comparison
    from parity.audit.results import load_audit

    first, second = (load_audit(Path(path)) for path in options.compare)
    if options.json:
        print(json.dumps(comparison_document(first, second)))
    else:
        print(format_comparison(first, second))
    if options.report:
        page = write_comparison(first, second, Path(options.report))
        print(f"report: {page}", file=sys.stderr if options.json else sys.stdout)
    return 0


def _sizes(text: str) -> list[int]:
    sizes: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise ValueError(f"--sizes has {part!r}, expected a number or a range such as 1-9")
        sizes += range(int(low), int(high or low) + 1)
    return sizes


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.prog = "parity.py audit"
    parser.add_argument(
        "--framework", choices=("mindspore", "torch"), help="what is audited; must be installed"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, gpu, ascend (default cpu)")
    parser.add_argument("--operators", help="comma-separated (default: all)")
    parser.add_argument("--sizes", help="such as 1-9,16,17 (default 1-33)")
    parser.add_argument(
        "--output", metavar="DIR",
        help="write the audit there, named after framework, version and device",
    )  # fmt: skip
    parser.add_argument(
        "--compare", nargs=2, metavar=("FIRST", "SECOND"), help="two audits that were written"
    )
    parser.add_argument(
        "--report", metavar="DIR", help="with --compare: write operators.html there"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(argv)
    if bool(options.framework) == bool(options.compare):
        parser.error("either --framework or --compare is needed, and not both")
    return options
