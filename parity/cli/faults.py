"""Plants mistakes of a catalogue (parity/faults), one at a time and in memory, in the code that a
real one would sit in, and runs the parity checks of a small net with each. A mistake is caught when
a check fails. It is localised when the first check that fails, the first place it names and the
source file that is blamed are those that the catalogue says. Without any mistake every check must
pass.

The bar: 95 % caught, 90 % localised, no false alarm.

Examples:
  tinynet parity faults --jobs 2                            the whole catalogue, minutes
  tinynet parity faults --list                              what is in it, as a Markdown table
  tinynet parity faults --group resume
  tinynet parity faults --only wrong_eps_in_mindspore,no_flips --json
  tinynet parity faults --jobs 2 --output parity/faults/score.json    the score that is shipped

--json prints passed, faults, caught, localised and defined (shares; the last one of those where the
right class or function was named, too), missed, mislocalised, false_alarms, and for each fault in
outcomes what was reported.

exit status: 0 when the bar is reached, 1 when not, or when a planted mistake was never executed; 2
for a wrong argument.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.cli.command import Parser, command_line, report

from parity.cli.options import add_shared

if TYPE_CHECKING:
    from parity.faults.outcomes import Clean, Outcome
    from parity.faults.score import Score


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--only", metavar="NAME,...", help="these faults only")
    add("--group", help="the faults of one group only")
    seeds = "runs of each of two nets without a fault, for false alarms (default: 3)"
    add("--seeds", type=int, default=3, metavar="N", help=seeds)
    add("--output", metavar="FILE", help="keep the score there")
    add("--list", action="store_true", help="show the catalogue, plant nothing")
    add_shared(parser, "--jobs", "--json")


def run(options: argparse.Namespace) -> int:
    from parity.faults import FAULTS, GROUPS

    if options.group and options.group not in GROUPS:
        known = ", ".join(GROUPS)
        raise ValueError(f"--group is {options.group}, expected one of {known}")
    if options.list:
        print("\n".join(_table(options.group)))
        return 0
    from tqdm import tqdm

    from parity.faults.score import CLEAN_SPECS, measure, save_score, score_document

    names: list[str] = options.only.split(",") if options.only else []
    names += [name for name, fault in FAULTS.items() if fault.group == options.group]
    runs = (len(set(names)) or len(FAULTS)) + options.seeds * len(CLEAN_SPECS)
    # disable=None: no bar in a file or a pipe.
    with tqdm(total=runs, unit=" runs", disable=None, dynamic_ncols=True) as bar:

        def show(done: Outcome | Clean) -> None:
            bar.update()

        score = measure(names, options.seeds, options.jobs, show)
    document = score_document(score, command_line(options.words))
    if options.output:
        save_score(Path(options.output), document)
    report(options, document, "\n".join(_lines(score)))
    return 0 if score.passed else 1


def _lines(score: Score) -> list[str]:
    from parity.faults import FAULTS

    count, clean = len(score.outcomes), len(score.clean)
    lines = [f"never executed: {o.fault}, the catalogue is wrong" for o in score.unreached]
    lines += [f"missed: {o.fault}, {FAULTS[o.fault].description}" for o in score.missed]
    for outcome in score.mislocalised:
        fault = FAULTS[outcome.fault]
        found = f"{outcome.check}, {outcome.where}, {outcome.file or 'no file'}"
        expected = f"{fault.check}, {fault.where}, {fault.source.file}"
        lines.append(f"not localised: {outcome.fault}: {found}; expected {expected}")
    for alarm in score.false_alarms:
        lines.append(f"false alarm: {alarm.spec}, seed {alarm.seed}: {alarm.check}, {alarm.where}")
    lines += [
        f"caught        {score.caught:6.1%}  {count - len(score.missed)} of {count}",
        f"localised     {score.localised:6.1%}  definition named, too: {score.defined:.1%}",
        f"false alarms  {len(score.false_alarms):>5}   of {clean} runs without a fault",
        "the bar is reached" if score.passed else "the bar is NOT reached",
    ]
    return lines


def _table(group: str | None) -> list[str]:
    from parity.faults import FAULTS

    lines = [
        "| fault | of | official | what is wrong | check | place | source |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for fault in FAULTS.values():
        if group in (None, fault.group):
            definition = fault.source.definition
            source = fault.source.file + (f", `{definition}`" if definition else "")
            lines.append(
                f"| `{fault.name}` | {fault.group} | {'yes' * fault.official} | "
                f"{fault.description} | `{fault.check}` | `{fault.where}` | {source} |"
            )
    return lines
