"""Makes the spec of a new net from a base (EfficientNet-B0 unless --base names another).

With --macs alone, by the tiny formula: resolution and depth are read off curves that were fitted
to measured nets (--frontier; without it, the released TinyNets), and width is solved on the exact
counter, so that the net costs what was asked for. Where no net is within 1 % of the budget, the
nearest is made, and the report names what is reachable on both sides.

With --giant, by EfficientNet's compound scaling: resolution, depth and width follow one exponent.

--output writes the spec, for every command that takes one. docs/formula.md explains it all.

Examples:
  tinynet derive --macs 100M                                   the tiny formula
  tinynet derive --macs 100M --output my_net.json              and the spec as a file
  tinynet derive --macs 100M --resolution 0.825 --depth 0.85   only width is solved
  tinynet derive --macs 100M --giant                           compound scaling to a budget
  tinynet derive --phi -1                                      and with an exponent
  tinynet derive --resolution 0.7 --depth 0.9 --width 0.6      a twist of your own
  tinynet derive --macs 2G --base resnet50                     the tiny formula for another base
  tinynet derive --fit                                         the curves' hyper-parameters
  tinynet derive --leave-one-out                               predictions of points never seen
  tinynet derive --law                                         d w^2 r^2 against the exact count
  tinynet derive --figures figures                             what docs/formula.md shows

exit status: 0, also where no net is within 1 % of the budget; 2 for a wrong argument or file, or a
budget that no width reaches. --figures needs matplotlib.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, UsageError, limited, report, without_matrix_threads
from tinynet.cli.options import add_shared

if TYPE_CHECKING:
    from tinynet.formula.frontier import Frontier, Point
    from tinynet.formula.regression import Process
    from tinynet.formula.tiny import Solution
    from tinynet.spec import Spec

BASE, RELEASED = "efficientnet_b0", "released"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--macs", type=_macs, help="budget: 100M, 1.5G or 99536432")
    add("--base", metavar="SPEC", help="what to twist: name or .json file")
    add("--name", help="of the new spec (default: says how it was made)")
    add("--output", metavar="FILE", help="write the spec there, a .json file")
    add_shared(parser, "--json")

    add = parser.add_argument_group("a twist of your own").add_argument
    for name in ("--resolution", "--depth", "--width"):
        add(name, type=limited, metavar="X", help="multiplier of the base")

    add = parser.add_argument_group("the giant formula").add_argument
    add("--giant", action="store_true", help="solve its exponent for --macs")
    add("--phi", type=float, metavar="X", help="exponent: 0 is the base, -1 smaller")

    add = parser.add_argument_group("the tiny formula").add_argument
    add("--frontier", metavar="FILE", help="nets whose first front is fitted (default: TinyNets)")
    add("--kernel", metavar="NAME", help="of the curves: matern32 (default), matern52 or rbf")
    scale = "of the kernel, in ln(cost ratio) (default: fitted)"
    add("--length-scale", type=float, metavar="X", help=scale)
    noise = "of the points, as a share of their variance (default: fitted)"
    add("--noise", type=float, metavar="X", help=noise)

    add = parser.add_argument_group("reports on the formula, in place of a spec").add_argument
    add("--fit", action="store_true", help="what the curves' points determine")
    add("--leave-one-out", action="store_true", help="predict each point from the others")
    add("--law", action="store_true", help="d w^2 r^2 against the exact count")
    add("--figures", metavar="DIR", help="draw what docs/formula.md shows")


def run(options: argparse.Namespace) -> int:
    _check(options)
    without_matrix_threads()
    from tinynet.spec import load_spec
    from tinynet.utils.atomic_files import check_destination

    if options.output:
        check_destination(options.output)
    if options.fit or options.leave_one_out or options.law or options.figures:
        _report_on_formula(options)
    elif options.giant or options.phi is not None:
        _finish(options, *_giant(options, load_spec(options.base or BASE)))
    elif options.resolution is not None:
        _finish(options, *_own(options, load_spec(options.base or BASE)))
    else:
        _finish(options, *_tiny(options))
    return 0


def _check(options: argparse.Namespace) -> None:
    jobs = [
        name
        for name in ("--giant", "--phi", "--fit", "--leave-one-out", "--law", "--figures")
        if getattr(options, name.strip("-").replace("-", "_")) not in (None, False)
    ]
    own = [n for n in ("resolution", "depth", "width") if getattr(options, n) is not None]
    if own:
        jobs.append(f"--{own[0]}")
    if len(jobs) > 1:
        raise UsageError(f"{jobs[0]} and {jobs[1]} are two jobs, expected one of them")
    job = jobs[0] if jobs else "--macs"
    wants_budget = job in ("--macs", "--giant") or (bool(own) and "width" not in own)
    if wants_budget and options.macs is None:
        raise UsageError("--macs is missing, expected a budget such as 100M")
    if not wants_budget and options.macs is not None:
        given = "--width" if own else job
        raise UsageError(f"--macs is given with {given}, which leaves nothing to solve")
    if own and not {"resolution", "depth"} <= set(own):
        expected = "expected --resolution and --depth, with --width or --macs"
        raise UsageError(f"--{own[0]} is given, {expected}")
    if options.output and not options.output.endswith(".json"):
        raise UsageError(f"--output is {options.output}, expected the name of a .json file")
    for name in ("output", "base", "name"):
        if getattr(options, name) and job in ("--fit", "--leave-one-out", "--law", "--figures"):
            raise UsageError(f"--{name} is given with {job}, which makes no spec")
    for name in ("frontier", "kernel", "length_scale", "noise"):
        unused = job not in ("--macs", "--fit", "--leave-one-out", "--figures")
        if getattr(options, name) is not None and unused and (name, job) != ("frontier", "--law"):
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is given with {job}, which fits no curves")


def _macs(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is not a number of macs, expected 100M or 1.5G")
    return round(float(match[1]) * _UNITS[match[2]])


# Making a spec: each returns the spec, what the report adds to it, and remarks for people.

_Made = tuple["Spec", dict[str, Any], list[str]]


def _tiny(options: argparse.Namespace) -> _Made:
    from tinynet.formula.frontier import load_frontier
    from tinynet.formula.regression import Process
    from tinynet.formula.tiny import fit, released_curves, tiny_formula
    from tinynet.net.complexity import count
    from tinynet.spec import load_spec

    frontier = load_frontier(options.frontier or RELEASED)
    base = load_spec(options.base) if options.base else frontier.base
    front, process = _front(options, frontier), _process(options)
    usual = options.frontier is None and process == Process()
    curves = released_curves() if usual else fit(front, process)
    name = options.name or f"{base.name}-tiny-{options.macs / 10**6:g}M"
    solution = tiny_formula(base, curves, options.macs, name)
    source = f"{solution.spec.source}; frontier: {options.frontier or RELEASED}"
    cost = options.macs / count(base).macs
    extrapolated = not curves.lowest <= cost <= curves.highest
    resolution, depth = solution.resolution, solution.depth
    interval = {"resolution": [resolution.low, resolution.high], "depth": [depth.low, depth.high]}
    facts = {"interval": interval, "pixels_moved": solution.pixels, "extrapolated": extrapolated}
    facts["curves"] = dataclasses.asdict(curves)
    remarks = [f"resolution  {resolution}", f"depth       {depth}"]
    if solution.pixels:
        remarks.append(f"moved       by {solution.pixels:+d} pixels, to meet the budget")
    if extrapolated:
        remarks.append(
            f"beyond      what was measured: {cost:.3f} of the base's macs, the points have "
            f"{curves.lowest:.3f} to {curves.highest:.3f}"
        )
    spec = dataclasses.replace(solution.spec, source=source)
    budget, missed = _budget(solution)
    return spec, facts | budget, remarks + missed


def _giant(options: argparse.Namespace, base: Spec) -> _Made:
    from tinynet.formula.compound import compound_twist, solve_phi
    from tinynet.net.complexity import count
    from tinynet.net.twist import derive

    phi = solve_phi(base, options.macs) if options.giant else options.phi
    label = f"{options.macs / 10**6:g}M" if options.giant else f"phi{phi:g}"
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
        return solution.spec, *_budget(solution)
    twist = Twist(options.resolution, options.depth, options.width)
    return derive(base, twist, name), {}, []


def _budget(solution: Solution) -> tuple[dict[str, Any], list[str]]:
    from tinynet.formula.tiny import TOLERANCE

    below, above, error = solution.below, solution.above, solution.relative_error
    reachable = {"below": below, "above": above}
    facts = {"budget": solution.budget, "relative_error": error, "reachable": reachable}
    missed = f"reachable   {below:,} and {above:,} macs, and nothing between, so no net is within"
    return facts, [] if error <= TOLERANCE else [f"{missed} {TOLERANCE:.0%}"]


def _finish(
    options: argparse.Namespace, spec: Spec, facts: dict[str, Any], remarks: list[str]
) -> None:
    from tinynet.net.complexity import count
    from tinynet.spec import format_spec, parse_spec, spec_document
    from tinynet.utils.atomic_files import write_text_atomically

    text = format_spec(spec)
    # The schema is checked before the spec is used: a name or a size may be out of its range.
    parse_spec(text, options.output or spec.name)
    if options.output:
        write_text_atomically(options.output, text)
    counted, derivation = count(spec), spec_document(spec)["derivation"]
    base, twist = derivation["base"], derivation["twist"]
    promised = {"name": spec.name, "macs": counted.macs, "budget": None, "relative_error": None}
    promised |= {"twist": twist, "interval": None, "path": options.output}
    promised |= {"params": counted.params, "base": base, "input_size": spec.input_size}
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
    report(options, promised | facts, "\n".join(lines))


# Reports


def _report_on_formula(options: argparse.Namespace) -> None:
    from tinynet.formula import reports
    from tinynet.formula.frontier import load_frontier
    from tinynet.formula.tiny import fit, leave_one_out

    frontier = load_frontier(options.frontier or RELEASED)
    if options.law:
        documents = [reports.law_document(point) for point in frontier.points]
        report(options, {"points": documents}, reports.format_law(frontier.points))
        return
    front, process = _front(options, frontier), _process(options)
    if options.fit:
        curves = fit(front, process)
        document = {"frontier": options.frontier or RELEASED, **dataclasses.asdict(curves)}
        report(options, document, reports.format_curves(curves))
    elif options.leave_one_out:
        found = leave_one_out(frontier.base, front, process)
        documents = [reports.left_out_document(row) for row in found]
        report(options, {"points": documents}, reports.format_left_out(found))
    else:
        from tinynet.formula.figures import draw

        paths = [str(path) for path in draw(Path(options.figures), frontier, front, process)]
        report(options, {"figures": paths}, "\n".join(paths))


def _front(options: argparse.Namespace, frontier: Frontier) -> list[Point]:
    from tinynet.formula.frontier import FrontierError, non_dominated
    from tinynet.formula.regression import MINIMUM_POINTS

    fronts = non_dominated(frontier.points)
    front = fronts[0] if fronts else []
    # To leave one out takes one more.
    least = MINIMUM_POINTS + bool(options.leave_one_out or options.figures)
    if len(front) < least:
        found = f"points on the first front: {len(front)}, expected at least {least}"
        raise FrontierError(f"{options.frontier or RELEASED}: {found}")
    return front


def _process(options: argparse.Namespace) -> Process:
    from tinynet.formula.regression import KERNELS, Process

    return Process(options.kernel or KERNELS[0], options.length_scale, options.noise)
