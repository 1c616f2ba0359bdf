"""Makes a new member of a family: for a budget, by a formula, or by a twist of one's own."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, without_matrix_threads

if TYPE_CHECKING:
    from tinynet.formula.frontier import Frontier, Point
    from tinynet.formula.regression import Process
    from tinynet.formula.tiny import Curves, Solution
    from tinynet.spec import Spec

DESCRIPTION = """\
Makes the spec of a new net from a base (EfficientNet-B0 unless --base names another).

With --macs alone, by the tiny formula: resolution and depth are read off curves that were fitted
to measured nets (--frontier; without it, the released TinyNets), and width is solved on the exact
counter, so that the net costs what was asked for. Where no net is within 1 % of the budget, the
nearest is made, and what is reachable on both sides is told.

With --giant, by EfficientNet's compound scaling: resolution, depth and width follow one exponent.

--output writes the spec, for every command that takes one. docs/formula.md explains it all.
"""

EXAMPLES = """\
examples:
  derive.py --macs 100M                                   the tiny formula
  derive.py --macs 100M --output my_net.json              and the spec as a file
  derive.py --macs 100M --resolution 0.825 --depth 0.85   only width is solved
  derive.py --macs 100M --giant                           compound scaling to a budget
  derive.py --phi -1                                      and with an exponent
  derive.py --resolution 0.7 --depth 0.9 --width 0.6      a twist of your own
  derive.py --macs 2G --base resnet50                     the tiny formula for another base
  derive.py --fit                                         the curves' hyper-parameters
  derive.py --leave-one-out                               predictions of points never seen
  derive.py --law                                         d w^2 r^2 against the exact count
  derive.py --figures figures                             what docs/formula.md shows (matplotlib)

exit status: 0, also where no net is within 1 % of the budget; 2 for a wrong argument or file, or a
budget that no width reaches.
"""

BASE, RELEASED = "efficientnet_b0", "released"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, and makes a spec or a report on the formula."""
    without_matrix_threads()
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tinynet.spec import load_spec
    from tinynet.utils.atomic_files import check_destination

    if options.output:
        check_destination(options.output)
    if options.fit or options.leave_one_out or options.law or options.figures:
        _report(options)
    elif options.giant or options.phi is not None:
        _finish(options, *_giant(options, load_spec(options.base or BASE)))
    elif options.resolution is not None:
        _finish(options, *_own(options, load_spec(options.base or BASE)))
    else:
        _finish(options, *_tiny(options))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("--macs", type=_macs, help="budget: 100M, 1.5G or 99536432")
    parser.add_argument("--base", metavar="SPEC", help="what to twist: name or .json file")
    parser.add_argument("--name", help="of the new spec (default: says how it was made)")
    parser.add_argument("--output", metavar="FILE", help="write the spec there, a .json file")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")

    twist = parser.add_argument_group("a twist of your own")
    for name in ("resolution", "depth", "width"):
        twist.add_argument(
            f"--{name}", type=_multiplier, metavar="X", help="multiplier of the base"
        )

    giant = parser.add_argument_group("the giant formula")
    giant.add_argument("--giant", action="store_true", help="solve its exponent for --macs")
    giant.add_argument("--phi", type=float, metavar="X", help="exponent: 0 is the base, -1 smaller")

    tiny = parser.add_argument_group("the tiny formula")
    tiny.add_argument(
        "--frontier", metavar="FILE",
        help="measured nets, whose first front is fitted (default: the released TinyNets)",
    )  # fmt: skip
    tiny.add_argument(
        "--kernel", metavar="NAME",
        help="covariance of the curves: matern32, matern52 or rbf (default: matern32)",
    )  # fmt: skip
    tiny.add_argument(
        "--length-scale", type=float, metavar="X",
        help="of the kernel, in ln(cost ratio) (default: fitted)",
    )  # fmt: skip
    tiny.add_argument(
        "--noise", type=float, metavar="X",
        help="of the points, as a share of their variance (default: fitted)",
    )  # fmt: skip

    reports = parser.add_argument_group("reports on the formula, in place of a spec")
    reports.add_argument("--fit", action="store_true", help="what the curves' points determine")
    reports.add_argument(
        "--leave-one-out", action="store_true", help="predict each point from the others"
    )
    reports.add_argument("--law", action="store_true", help="d w^2 r^2 against the exact count")
    reports.add_argument("--figures", metavar="DIR", help="draw what docs/formula.md shows")

    options = parser.parse_args(argv)
    mistake = _contradiction(options)
    if mistake:
        parser.error(mistake)
    return options


def _contradiction(options: argparse.Namespace) -> str:
    jobs = [
        name
        for name in ("--giant", "--phi", "--fit", "--leave-one-out", "--law", "--figures")
        if getattr(options, name.strip("-").replace("-", "_")) not in (None, False)
    ]
    own = [n for n in ("resolution", "depth", "width") if getattr(options, n) is not None]
    if own:
        jobs.append(f"--{own[0]}")
    if len(jobs) > 1:
        return f"{jobs[0]} and {jobs[1]} are two jobs, expected one of them"
    job = jobs[0] if jobs else "--macs"
    wants_budget = job in ("--macs", "--giant") or (bool(own) and "width" not in own)
    if wants_budget and options.macs is None:
        return "--macs is missing, expected a budget such as 100M"
    if not wants_budget and options.macs is not None:
        return f"--macs is given with {'--width' if own else job}, which leaves nothing to solve"
    if own and not {"resolution", "depth"} <= set(own):
        return f"--{own[0]} is given, expected --resolution and --depth, with --width or --macs"
    if options.output and not options.output.endswith(".json"):
        return f"--output is {options.output}, expected the name of a .json file"
    for name in ("output", "base", "name"):
        if getattr(options, name) and job in ("--fit", "--leave-one-out", "--law", "--figures"):
            return f"--{name} is given with {job}, which makes no spec"
    for name in ("frontier", "kernel", "length_scale", "noise"):
        unused = job not in ("--macs", "--fit", "--leave-one-out", "--figures")
        if getattr(options, name) is not None and unused and (name, job) != ("frontier", "--law"):
            return f"--{name.replace('_', '-')} is given with {job}, which fits no curves"
    return ""


def _macs(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is no number of macs, expected 100M or 1.5G")
    return round(float(match[1]) * _UNITS[match[2]])


def _multiplier(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 64:
        raise argparse.ArgumentTypeError(f"{text} is no multiplier, expected 0 to 64, above 0")
    return value


def _short(macs: int) -> str:
    return f"{macs / 10**6:g}M"


# Making a spec: each returns the spec, what the report adds to it, and remarks for people.

_Made = tuple["Spec", dict[str, Any], list[str]]


def _tiny(options: argparse.Namespace) -> _Made:
    from tinynet.formula.frontier import load_frontier
    from tinynet.formula.tiny import tiny_formula
    from tinynet.net.complexity import count
    from tinynet.spec import load_spec

    frontier = load_frontier(options.frontier or RELEASED)
    base = load_spec(options.base) if options.base else frontier.base
    curves = _curves(options, frontier)
    name = options.name or f"{base.name}-tiny-{_short(options.macs)}"
    solution = tiny_formula(base, curves, options.macs, name)
    source = f"{solution.spec.source}; frontier: {options.frontier or RELEASED}"
    cost = options.macs / count(base).macs
    extrapolated = not curves.lowest <= cost <= curves.highest
    facts = {
        "interval": {
            "resolution": [solution.resolution.low, solution.resolution.high],
            "depth": [solution.depth.low, solution.depth.high],
        },
        "pixels_moved": solution.pixels,
        "extrapolated": extrapolated,
        "curves": dataclasses.asdict(curves),
    }
    remarks = [f"resolution  {solution.resolution}", f"depth       {solution.depth}"]
    if solution.pixels:
        remarks.append(f"moved       by {solution.pixels:+d} pixels, to meet the budget")
    if extrapolated:
        remarks.append(
            f"beyond      what was measured: {cost:.3f} of the base's macs, the points have "
            f"{curves.lowest:.3f} to {curves.highest:.3f}"
        )
    spec = dataclasses.replace(solution.spec, source=source)
    return spec, facts | _met(solution), remarks + _missed(solution)


def _giant(options: argparse.Namespace, base: Spec) -> _Made:
    from tinynet.formula.compound import compound_twist, solve_phi
    from tinynet.net.complexity import count
    from tinynet.net.twist import derive

    phi = solve_phi(base, options.macs) if options.giant else options.phi
    label = _short(options.macs) if options.giant else f"phi{phi:g}"
    source = f"compound scaling (arXiv 1905.11946) with phi = {phi:g}"
    spec = derive(base, compound_twist(phi), options.name or f"{base.name}-giant-{label}", source)
    error = abs(count(spec).macs / options.macs - 1) if options.giant else None
    facts = {"phi": phi, "budget": options.macs, "relative_error": error}
    return spec, facts, [f"phi         {phi:g}"]


def _own(options: argparse.Namespace, base: Spec) -> _Made:
    from tinynet.formula.tiny import solve_width
    from tinynet.net.twist import derive
    from tinynet.spec import Twist

    name = options.name or f"{base.name}-twist"
    if options.width is None:
        solution = solve_width(base, options.resolution, options.depth, options.macs, name)
        return solution.spec, _met(solution), _missed(solution)
    twist = Twist(options.resolution, options.depth, options.width)
    return derive(base, twist, name), {}, []


def _met(solution: Solution) -> dict[str, Any]:
    return {
        "budget": solution.budget, "relative_error": solution.relative_error,
        "reachable": {"below": solution.below, "above": solution.above},
    }  # fmt: skip


def _missed(solution: Solution) -> list[str]:
    from tinynet.formula.tiny import TOLERANCE

    if solution.relative_error <= TOLERANCE:
        return []
    return [
        f"reachable   {solution.below:,} and {solution.above:,} macs, and nothing between, so no "
        f"net is within {TOLERANCE:.0%}"
    ]


def _finish(
    options: argparse.Namespace, spec: Spec, facts: dict[str, Any], remarks: list[str]
) -> None:
    """Writes the spec where it is wanted, and reports it."""
    from tinynet.net.complexity import count
    from tinynet.spec import format_spec, parse_spec, spec_document
    from tinynet.utils.atomic_files import write_atomically

    text = format_spec(spec)
    # Held to the schema before anybody builds on it: a name or a size may be out of its range.
    parse_spec(text, options.output or spec.name)
    if options.output:
        write_atomically(options.output, lambda path: path.write_text(text, encoding="utf-8"))
    counted, derivation = count(spec), spec_document(spec)["derivation"]
    base, twist = derivation["base"], derivation["twist"]
    if options.json:
        promised = {
            "name": spec.name, "macs": counted.macs, "budget": None, "relative_error": None,
            "twist": twist, "interval": None, "path": options.output, "params": counted.params,
            "base": base, "input_size": spec.input_size,
        }  # fmt: skip
        print(json.dumps(promised | facts))
        return
    budget = ""
    if facts.get("budget") is not None:
        budget = f" ({facts['relative_error']:.2%} off the budget of {facts['budget']:,})"
    lines = [
        f"name        {spec.name}",
        f"macs        {counted.macs:,}{budget}",
        f"params      {counted.params:,}",
        f"input       {' x '.join(map(str, spec.input_size))} (channels x height x width)",
        f"twist       of {base}: resolution x {twist['resolution']:g}, "
        f"depth x {twist['depth']:g}, width x {twist['width']:g}",
        *remarks,
    ]
    if options.output:
        lines.append(f"written     {options.output}")
    print("\n".join(lines))


# Reports


def _report(options: argparse.Namespace) -> None:
    from tinynet.formula.frontier import load_frontier
    from tinynet.formula.reports import (
        format_curves,
        format_law,
        format_left_out,
        law_document,
        left_out_document,
    )
    from tinynet.formula.tiny import fit, leave_one_out

    frontier = load_frontier(options.frontier or RELEASED)
    if options.law:
        documents = [law_document(point) for point in frontier.points]
        print(json.dumps({"points": documents}) if options.json else format_law(frontier.points))
        return
    front, process = _front(options, frontier), _process(options)
    if options.fit:
        curves = fit(front, process)
        document = {"frontier": options.frontier or RELEASED, **dataclasses.asdict(curves)}
        print(json.dumps(document) if options.json else format_curves(curves))
        return
    if options.leave_one_out:
        found = leave_one_out(frontier.base, front, process)
        documents = [left_out_document(row) for row in found]
        print(json.dumps({"points": documents}) if options.json else format_left_out(found))
        return
    from tinynet.formula.figures import draw

    paths = [str(path) for path in draw(Path(options.figures), frontier, front, process)]
    print(json.dumps({"figures": paths}) if options.json else "\n".join(paths))


def _curves(options: argparse.Namespace, frontier: Frontier) -> Curves:
    from tinynet.formula.regression import Process
    from tinynet.formula.tiny import fit, released_curves

    front, process = _front(options, frontier), _process(options)
    usual = options.frontier is None and process == Process()
    return released_curves() if usual else fit(front, process)


def _front(options: argparse.Namespace, frontier: Frontier) -> list[Point]:
    from tinynet.formula.frontier import FrontierError, non_dominated
    from tinynet.formula.regression import MINIMUM_POINTS

    front = next(iter(non_dominated(frontier.points)), [])
    # To leave one out takes one more.
    least = MINIMUM_POINTS + bool(options.leave_one_out or options.figures)
    if len(front) < least:
        raise FrontierError(
            f"{options.frontier or RELEASED}: points on the first front: {len(front)}, expected at "
            f"least {least}"
        )
    return front


def _process(options: argparse.Namespace) -> Process:
    from tinynet.formula.regression import KERNELS, Process

    return Process(options.kernel or KERNELS[0], options.length_scale, options.noise)
