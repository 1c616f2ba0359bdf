"""``parity.py calibrate``: measures how large rounding errors are here, and what bounds follow."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser

if TYPE_CHECKING:
    from parity.context import Candidate
    from parity.tolerances.calibration import Noise
    from parity.tolerances.fitting import Trial
    from parity.tolerances.trials import Plan

DESCRIPTION = """\
Measures, over many seeds and specs, how far a framework's results are from float64 in multiples of
PyTorch's float32 rounding noise, and writes a calibration for each mode: the file from which
parity.py takes its factors for this version, device, precision and mode. It says what changed
against the calibration that was there.

With --extend what was measured before counts too: of each quantity the larger multiple stays, and
nets whose noise nobody knew are added. So other nets can be calibrated without all that were.

A bound is twice the largest multiple that was seen. What would need more than the limits of
parity/tolerances/bounds.py is refused as a fault. The noise itself, place by place, is measured
where there is no file of it yet, or with --noise.

With --check nothing is written: the seeds are climbed with the bounds there are, and every failure
is a false alarm.
"""

EXAMPLES = """\
examples:
  parity.py calibrate                                              MindSpore on this CPU
  parity.py calibrate --specs tinynet_digits:100,tinynet_e:20 --modes pynative --jobs 2
  parity.py calibrate --specs resnet18:2 --modes pynative --extend
  parity.py calibrate --framework torch --device cuda --precision tf32
  parity.py calibrate --framework torch --device cuda --precision bfloat16 --output calibrations
  parity.py calibrate --framework mindspore --device ascend --precision float16
  parity.py calibrate --check --first-seed 1000 --specs tinynet_digits:200 --modes pynative

A calibration in a folder of your own is used with parity.py --calibrations FOLDER.

exit status: 0 when calibrated, or checked without a false alarm; 1 for a false alarm; 2 for a wrong
argument, or errors that are no rounding.
"""

DEFAULT_SPECS = "tinynet_digits:10,tinynet_e:5,efficientnet_lite0:1"


def main(argv: list[str]) -> int:
    """Parses the arguments, runs, and writes the calibrations or counts the false alarms."""
    options = _parse(argv)
    from parity.context import candidates_of
    from parity.tolerances.calibration import DIRECTORY

    if options.extend and (options.check or options.noise):
        raise ValueError("--extend goes with neither --check nor --noise")
    if options.checks and not options.check:
        raise ValueError("--levels without --check: a calibration is of all its rungs")
    candidates = candidates_of(
        options.framework,
        options.modes.split(",") if options.modes else (),
        options.device,
        options.precision,
    )
    plans = _plans(options.specs, options.first_seed)
    folder = Path(options.output) if options.output else DIRECTORY
    command = shlex.join(["python", "scripts/parity.py", "calibrate", *argv])
    run = _check if options.check else _calibrate
    results = [run(candidate, plans, folder, command, options) for candidate in candidates]
    if options.json:
        print(json.dumps(results))
    return 1 if any(result.get("false_alarms") for result in results) else 0


def _calibrate(
    candidate: Candidate, plans: list[Plan], folder: Path, command: str, options: argparse.Namespace
) -> dict[str, Any]:
    from parity.tolerances.calibration import (
        factor,
        find_calibration,
        load_calibration,
        save_calibration,
    )
    from parity.tolerances.fitting import calibrate, compare_calibrations, extend_calibration

    made = _run(candidate, plans, None, options)
    noise, changes = _noise(candidate, made, folder, command, options)
    before = find_calibration(candidate.setting, folder)
    found = calibrate(candidate.setting, noise, made, command)
    if before and options.extend:
        found = extend_calibration(before, found)
    path = save_calibration(found, folder)
    after = load_calibration(path)
    changes += compare_calibrations(before, after) if before else ["there was none before"]
    factors = {quantity: factor(multiple) for quantity, multiple in after.multiples.items()}
    if not options.json:
        print(f"{path}: {len(made)} climbs")
        for quantity, multiple in after.multiples.items():
            print(
                f"  {quantity:<24} factor {factors[quantity]:<5g} median {multiple.median:<9g} "
                f"largest {multiple.largest:g} ({multiple.spec}, seed {multiple.seed}: "
                f"{multiple.where})"
            )
        print("changes:", *(changes or ["none"]), sep="\n  ")
    return {"path": str(path), "climbs": len(made), "factors": factors, "changes": changes}


def _noise(
    candidate: Candidate, made: list[Trial], folder: Path, command: str, options: argparse.Namespace
) -> tuple[Noise, list[str]]:
    from parity.context import BASELINE
    from parity.tolerances.calibration import CalibrationError, find_noise, load_noise, save_noise
    from parity.tolerances.fitting import compare_noise, extend_noise, measure_noise

    baseline = BASELINE.setting
    before = find_noise(baseline, folder)
    if before is not None and not (options.noise or options.extend):
        return before, []
    if candidate.precision != "float32":
        raise CalibrationError(
            f"{folder}: holds no {baseline.noise_name}, which a calibration of "
            f"{candidate.precision} is held against; calibrate with --precision float32 first"
        )
    found = measure_noise(baseline, made, command)
    if before is not None and options.extend:
        found = extend_noise(before, found)
    after = load_noise(save_noise(found, folder))
    return after, compare_noise(before, after) if before else []


def _check(
    candidate: Candidate, plans: list[Plan], folder: Path, command: str, options: argparse.Namespace
) -> dict[str, Any]:
    made = _run(candidate, plans, folder, options)
    alarms = [
        {"spec": trial.spec.name, "seed": trial.seed, "subject": item.candidate,
         "where": item.where, "quantity": item.quantity, "error": item.error, "bound": item.bound}
        for trial in made for item in trial.comparisons if not item.passed
    ]  # fmt: skip
    compared = sum(len(trial.comparisons) for trial in made)
    worst = max(
        ((item, trial) for trial in made for item in trial.comparisons if item.quantity),
        key=lambda pair: pair[0].severity,
    )
    if not options.json:
        print(f"{candidate}: {len(made)} climbs, {compared:,} comparisons, {len(alarms)} alarms")
        item, trial = worst
        print(f"  nearest: {item.severity:.0%} of its bound, {item.where} ({item.quantity}), "
              f"{trial.spec.name}, seed {trial.seed}")  # fmt: skip
        for alarm in alarms:
            print("  false alarm:", json.dumps(alarm))
    return {
        "subject": str(candidate), "climbs": len(made), "compared": compared,
        "worst_share_of_bound": worst[0].severity, "false_alarms": alarms,
    }  # fmt: skip


def _run(
    candidate: Candidate, plans: list[Plan], bounds: Path | None, options: argparse.Namespace
) -> list[Trial]:
    from tqdm import tqdm

    from parity.tolerances.trials import CALIBRATED, trials

    checks = options.checks.split(",") if options.checks else CALIBRATED
    keep = Path(options.keep) if options.keep else None
    made: list[Trial] = []
    total = sum(len(plan.seeds) for plan in plans)
    with tqdm(total=total, unit=" climbs", disable=None, desc=str(candidate)) as bar:
        for trial in trials(plans, candidate, bounds, checks, options.jobs, keep):
            made.append(trial)
            bar.update()
            bar.set_postfix_str(f"{trial.spec.name} {trial.seed}")
    return made


def _plans(text: str, first_seed: int) -> list[Plan]:
    from tinynet.spec import load_spec

    from parity.tolerances.trials import Plan

    plans: list[Plan] = []
    for part in text.split(","):
        name, _, count = part.partition(":")
        if not count.isdecimal() or int(count) < 1:
            raise ValueError(f"--specs has {part!r}, expected SPEC:NUMBER such as tinynet_e:5")
        plans.append(Plan(load_spec(name), range(first_seed, first_seed + int(count))))
    return plans


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.prog = "parity.py calibrate"
    parser.add_argument(
        "--specs", default=DEFAULT_SPECS, metavar="SPEC:SEEDS,...",
        help="specs, and how many seeds for each (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--first-seed", type=int, default=0, help="(default 0)")
    parser.add_argument(
        "--framework", choices=("mindspore", "torch"), default="mindspore",
        help="whose errors (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--modes", help="of the framework, comma-separated (default: all)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, gpu, ascend (default cpu)")
    parser.add_argument(
        "--precision", default="float32",
        help="float32, tf32, bfloat16, float16, as far as the framework has it (default float32)",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side (default 1)")
    parser.add_argument(
        "--keep", metavar="DIR",
        help="keep a file for each climb there, and take those that are there already",
    )  # fmt: skip
    parser.add_argument(
        "--noise", action="store_true", help="measure the reference's noise anew as well"
    )
    parser.add_argument(
        "--extend", action="store_true", help="add to the calibration that is there, see above"
    )
    parser.add_argument("--check", action="store_true", help="count false alarms, write nothing")
    parser.add_argument(
        "--checks",
        "--levels",
        help="with --check: comma-separated rungs (default: all that are calibrated)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="of the calibrations (default: the shipped ones)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON array on standard output")
    return parser.parse_args(argv)
