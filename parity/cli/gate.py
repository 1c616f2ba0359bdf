"""Runs all parity checks for some specs, by default all shipped TinyNets, and passes only if every
check was run and passed. A check that was skipped or is missing fails, unless it is listed as a
known difference; and so does a known difference that matches nothing.

With --from, it decides about reports that were written elsewhere, and no framework is needed.

Examples:
  tinynet parity gate                                        all shipped TinyNets, all checks
  tinynet parity gate --jobs 2                               the same, two specs at a time
  tinynet parity gate --specs tinynet_e,my_net.json --junit junit.xml --report reports
  tinynet parity gate --specs my_net.json --known known_differences.toml
  tinynet parity gate --specs tinynet_e,tinynet_d --from reports/*/parity.json

fields of --json: passed, specs, checks (how many), failures (spec, check, message, again), known
(the same, and ids: what was let pass, and by which known differences), stale (ids of known
differences that match nothing).

exit status: 0 when the gate passed, 1 when it failed, 2 for a wrong argument or file.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.cli.command import Parser, command_line, remark, report

from parity.cli import options as shared

if TYPE_CHECKING:
    from tinynet.spec import Spec
    from tinynet.utils.process_pool import Processors

    from parity.known_differences import KnownDifference
    from parity.results import CheckResult, Report

KNOWN = Path(__file__).parents[1] / "known_differences.toml"


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--specs", metavar="A,B", help="comma-separated names or paths (default: all but ResNets)")
    written = "reports (parity.json) to decide about, instead of running checks"
    add("--from", dest="reports", nargs="+", metavar="FILE", help=written)
    known = "a TOML file of known differences (default: the one that is shipped)"
    add("--known", metavar="FILE", default=KNOWN, help=known)
    shared.add_shared(parser, "--framework", "--modes", "--device", "--precision", "--calibrations")
    add("--report", metavar="DIR", help="write DIR/SPEC/parity.html and .json")
    shared.add_shared(parser, "--jobs", "--junit", "--json")


def run(options: argparse.Namespace) -> int:
    from tinynet.spec import list_specs, load_spec

    from parity.checks import CHECKS
    from parity.gate import decide, format_gate, gate_document, gate_suites
    from parity.known_differences import load_known_differences
    from parity.report.document import load_report
    from parity.report.junit import write_junit

    if options.reports and options.specs is None:
        raise ValueError("--from without --specs: name the specs that must be among the reports")
    # A ResNet takes as long as all the others together, so its checks run only when it is named.
    family = [name for name in list_specs() if not load_spec(name).is_resnet]
    names = family if options.specs is None else options.specs.split(",")
    specs = {name: load_spec(name) for name in names}
    known = load_known_differences(options.known, CHECKS)
    if options.reports:
        reports = [load_report(path) for path in options.reports]
    else:
        reports = _run_all(specs, options, known)
    result = decide(reports, [spec.name for spec in specs.values()], known)
    report(options, gate_document(result), format_gate(result))
    if options.junit:
        write_junit(options.junit, gate_suites(result))
    return 0 if result.passed else 1


def _run_all(
    specs: dict[str, Spec], options: argparse.Namespace, known: Sequence[KnownDifference]
) -> list[Report]:
    from tinynet.net.complexity import count
    from tinynet.utils.process_pool import process_pool, processor_shares

    if options.jobs < 1:
        raise ValueError(f"--jobs is {options.jobs}, expected a number from 1")
    if options.jobs == 1:
        return [_run(name, spec, options, known) for name, spec in specs.items()]
    # The largest first, so that the last to finish is a small one.
    names = iter(sorted(specs, key=lambda name: count(specs[name]).macs, reverse=True))
    found: dict[str, Report] = {}

    def work(share: Processors) -> None:
        for name in names:
            # A process for each spec: MindSpore keeps the memory of every net that it compiled.
            with process_pool([share]) as process:
                found[name] = process.submit(_run, name, specs[name], options, known).result()

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, processor_shares(options.jobs)))
    return [found[name] for name in specs]


def _run(
    name: str, spec: Spec, options: argparse.Namespace, known: Sequence[KnownDifference]
) -> Report:
    from tinynet.backend import REFERENCE, load_backend

    from parity.report.page import write_html
    from parity.report.text import format_check
    from parity.suite import run_checks

    chosen = shared.candidates(options)
    load_backend(REFERENCE)
    # The frameworks stay: the collector need not walk them at each of its rounds, a fiftieth of
    # the time that a run takes.
    gc.collect()
    gc.freeze()
    again = ["parity", "--spec", name]
    for option in ("framework", "modes", "device", "precision", "calibrations"):
        if getattr(options, option):
            again += [f"--{option}", getattr(options, option)]

    def show(check: CheckResult) -> None:
        remark(options, f"{spec.name:<18}  {format_check(check)}")

    found = run_checks(
        spec,
        command=command_line(again),
        candidates=chosen,
        calibrations=shared.calibrations(options),
        progress=show,
    )
    if options.report:
        write_html(found, Path(options.report) / spec.name, known=known)
    return found
