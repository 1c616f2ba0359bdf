"""Measures, over many seeds and specs, how far a framework's results are from float64 in multiples
of PyTorch's float32 rounding noise, and writes a calibration for each mode: the file from which the
parity checks take their factors for this version, device, precision and mode. It says what changed
against the calibration that was there.

With --extend what was measured before counts too: of each quantity the larger multiple stays, and
nets whose noise was not known are added. So other nets can be calibrated without the earlier ones.

A bound is twice the largest multiple that was seen. What would need more than the limits of
parity/tolerances/bounds.py is refused as a fault. The noise itself, place by place, is measured
where it has no file yet, or with --noise.

With --check nothing is written: the checks run with the bounds there are, and every failure is a
false alarm.

Examples:
  tinynet parity calibrate                                              MindSpore on this CPU
  tinynet parity calibrate --specs tinynet_digits:100,tinynet_e:20 --modes pynative --jobs 2
  tinynet parity calibrate --specs resnet18:2 --modes pynative --extend
  tinynet parity calibrate --framework torch --device cuda --precision tf32
  tinynet parity calibrate --framework torch --device cuda --precision bfloat16 --output mine
  tinynet parity calibrate --framework mindspore --device ascend --precision float16
  tinynet parity calibrate --check --first-seed 1000 --specs tinynet_digits:200 --modes pynative

A calibration in a folder of your own is used with `tinynet parity --calibrations FOLDER`.

exit status: 0 when calibrated, or checked without a false alarm; 1 for a false alarm; 2 for a wrong
argument, or for errors that are not rounding.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, command_line

from parity.cli import options as shared

if TYPE_CHECKING:
    from parity.candidates import Candidate
    from parity.tolerances.calibration import Noise
    from parity.tolerances.fitting import SeededRun
    from parity.tolerances.seeded_runs import Plan

# What --json prints of a candidate, and lines for people.
_Result = tuple[dict[str, Any], list[str]]
DEFAULT_SPECS = "tinynet_digits:10,tinynet_e:5,efficientnet_lite0:1"


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    specs = "specs, and how many seeds for each (default: %(default)s)"
    add("--specs", default=DEFAULT_SPECS, metavar="SPEC:SEEDS,...", help=specs)
    add("--first-seed", type=int, default=0, metavar="N", help="(default: 0)")
    shared.add_shared(parser, "--framework", help="whose errors (default: mindspore)")
    shared.add_shared(parser, "--modes", "--device", "--precision", "--jobs")
    add("--keep", metavar="DIR", help="keep a file for each run, and take those that are there")
    add("--noise", action="store_true", help="measure the baseline's noise again as well")
    add("--extend", action="store_true", help="add to the calibration that is there, see above")
    add("--check", action="store_true", help="count false alarms, write nothing")
    shared.add_shared(parser, "--checks", help="with --check: comma-separated (default: all)")
    add("--output", metavar="DIR", help="of the calibrations (default: the shipped ones)")
    shared.add_shared(parser, "--json", help="report as one JSON array")


def run(options: argparse.Namespace) -> int:
    if options.extend and (options.check or options.noise):
        raise ValueError("--extend goes with neither --check nor --noise")
    if options.checks and not options.check:
        raise ValueError("--checks without --check: a calibration is of all its checks")
    candidates = shared.candidates(options)
    plans = _plans(options.specs, options.first_seed)
    work = _check if options.check else _calibrate
    results: list[dict[str, Any]] = []
    for candidate in candidates:
        result, lines = work(options, plans, candidate)
        results.append(result)
        if not options.json:
            print(*lines, sep="\n", flush=True)
    if options.json:
        print(json.dumps(results))
    return 1 if any(result.get("false_alarms") for result in results) else 0


def _folder(options: argparse.Namespace) -> Path:
    from parity.tolerances.calibration import DIRECTORY

    return Path(options.output) if options.output else DIRECTORY


def _calibrate(options: argparse.Namespace, plans: list[Plan], candidate: Candidate) -> _Result:
    from parity.tolerances import calibration as files
    from parity.tolerances.fitting import calibrate, compare_calibrations, extend_calibration

    setting, folder = candidate.setting, _folder(options)
    made = _run_all(options, plans, candidate, None)
    noise, changes = _noise(options, candidate, made)
    before = files.find_calibration(setting, folder)
    found = calibrate(setting, noise, made, command_line(options.words))
    if before and options.extend:
        found = extend_calibration(before, found)
    path = files.save_calibration(found, folder)
    after = files.load_calibration(path)
    changes += compare_calibrations(before, after) if before else ["there was none before"]
    factors = {name: files.factor(multiple) for name, multiple in after.multiples.items()}
    lines = [f"{path}: {len(made)} runs"]
    for quantity, multiple in after.multiples.items():
        lines.append(
            f"  {quantity:<24} factor {factors[quantity]:<5g} median {multiple.median:<9g} "
            f"largest {multiple.largest:g} ({multiple.spec}, seed {multiple.seed}: "
            f"{multiple.where})"
        )
    lines += ["changes:", *(f"  {change}" for change in changes or ["none"])]
    return {"path": str(path), "runs": len(made), "factors": factors, "changes": changes}, lines


def _noise(
    options: argparse.Namespace, candidate: Candidate, made: list[SeededRun]
) -> tuple[Noise, list[str]]:
    from parity.candidates import BASELINE
    from parity.tolerances import calibration as files
    from parity.tolerances.fitting import compare_noise, extend_noise, measure_noise

    baseline, precision, folder = BASELINE.setting, candidate.precision, _folder(options)
    before = files.find_noise(baseline, folder)
    if before is not None and not (options.noise or options.extend):
        return before, []
    if precision != "float32":
        raise files.CalibrationError(
            f"{folder}: holds no {baseline.noise_name}, which a calibration of {precision} "
            "is held against; calibrate with --precision float32 first"
        )
    found = measure_noise(baseline, made, command_line(options.words))
    if before is not None and options.extend:
        found = extend_noise(before, found)
    after = files.load_noise(files.save_noise(found, folder))
    return after, compare_noise(before, after) if before else []


def _check(options: argparse.Namespace, plans: list[Plan], candidate: Candidate) -> _Result:
    made = _run_all(options, plans, candidate, _folder(options))
    compared = [(item, run) for run in made for item in run.comparisons]
    fields = ("where", "quantity", "error", "bound")
    alarms = [
        {"spec": run.spec.name, "seed": run.seed, "candidate": item.candidate}
        | {name: getattr(item, name) for name in fields}
        for item, run in compared
        if not item.passed
    ]
    bounded = [(item, run) for item, run in compared if item.quantity]
    worst, of = max(bounded, key=lambda pair: pair[0].severity)
    counts = f"{len(made)} runs, {len(compared):,} comparisons, {len(alarms)} alarms"
    lines = [
        f"{candidate}: {counts}",
        f"  nearest: {worst.severity:.0%} of its bound, {worst.where} ({worst.quantity}), "
        f"{of.spec.name}, seed {of.seed}",
        *(f"  false alarm: {json.dumps(alarm)}" for alarm in alarms),
    ]
    result = {"candidate": str(candidate), "runs": len(made), "compared": len(compared)}
    return result | {"worst_share_of_bound": worst.severity, "false_alarms": alarms}, lines


def _run_all(
    options: argparse.Namespace, plans: list[Plan], candidate: Candidate, bounds: Path | None
) -> list[SeededRun]:
    from tqdm import tqdm

    from parity.checks import CALIBRATED
    from parity.tolerances.seeded_runs import run_seeds

    made: list[SeededRun] = []
    checks = shared.checks(options, CALIBRATED)
    keep = Path(options.keep) if options.keep else None
    total = sum(len(plan.seeds) for plan in plans)
    with tqdm(total=total, unit=" runs", disable=None, desc=str(candidate)) as bar:
        for run in run_seeds(plans, candidate, bounds, checks, options.jobs, keep):
            made.append(run)
            bar.update()
            bar.set_postfix_str(f"{run.spec.name} {run.seed}")
    return made


def _plans(text: str, first_seed: int) -> list[Plan]:
    from tinynet.spec import load_spec

    from parity.tolerances.seeded_runs import Plan

    plans: list[Plan] = []
    for part in text.split(","):
        name, _, count = part.partition(":")
        if not count.isdecimal() or int(count) < 1:
            raise ValueError(f"--specs has {part!r}, expected SPEC:NUMBER such as tinynet_e:5")
        plans.append(Plan(load_spec(name), range(first_seed, first_seed + int(count))))
    return plans
