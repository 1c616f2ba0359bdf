"""The command ``benchmark.py``: parses its arguments, runs the races and reports."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, positive

if TYPE_CHECKING:
    from benchmarks.harness import Race, Result

DESCRIPTION = """\
Times what the project does against what people would otherwise use. All sides of a race run in
turn, each in a process of its own, so that a machine that slows down slows all of them. Told are
medians, with the fastest and the slowest round, and how many times as long as ours a side takes.

workloads:
  train      one optimizer step: forward, backward, RMSProp, average. Against timm's step in PyTorch
             (with the memory settings of the twin, and as a user finds it), and against a step as
             MindSpore's tutorials write it
  infer      pixels to logits: the deployed file in ONNX Runtime, in float32 and in INT8, and both
             twins, folded and not. Against timm, as above, and OpenVINO on the same file. On CUDA,
             and in another precision than float32, PyTorch's nets alone, the batch on the device
  convert    a safetensors file to MindSpore's names, as a whole process. Against the few lines with
             safetensors or PyTorch that people write, which check nothing
  startup    short commands as whole processes. Against importing a framework
  suite      the whole parity ladder, in PyNative and in graph mode; minutes
  data       photographs on disk become what a net is given, for training (in both engines of a
             recipe) and for evaluation, against timm's transforms; and the loader, by workers. With
             --disk, instead: reading as many files as --files says, of 110 KB, from that disk, as
             files and as an archive of pack_dataset.py, in random order, by one thread and by eight

--disk DIR writes files and archive into DIR and removes them at the end. Before each round the
system is told to forget what it has read of them. It may not, and the client and the server of a
network disk may remember files too, so that a server's memory may be what is measured.

Peers are optional: what is not installed (timm, torchvision, ...) is left out, and the report says
so. Rows marked "limit" are not rivals but the part that no side can avoid: a matrix product of as
many multiply-accumulates, a copy of as many bytes, decoding a JPEG.
"""

EXAMPLES = """\
examples:
  benchmark.py train                                       TinyNet-E, batch 32, one core
  benchmark.py train --frameworks torch --device cuda --specs tinynet_a,tinynet_e \\
           --batch-sizes 512 --precisions float32,tf32,bfloat16 --compile
  benchmark.py infer --specs tinynet_c --batch-sizes 1,8   one spec, two batch sizes
  benchmark.py infer --device cuda --precisions float32,tf32,bfloat16 --compile --batch-sizes 1,512
  benchmark.py convert startup                             whole processes, TinyNet-A's 25 MB
  benchmark.py train --before ../before                    against another checkout of the project
  benchmark.py data                                        photographs to 192 px, one core
  benchmark.py data --disk /shared/try,/local/try          does packing pay there, and there?
  benchmark.py train --report reports/benchmark            a page with bars, and the numbers

exit status: 0 when all races were run, 2 for a wrong argument or a side that failed.
"""

# Each is a module of this folder, whose function ``races`` gives its races.
WORKLOADS = ("train", "infer", "convert", "startup", "suite", "data")

_FRAMEWORKS = ("torch", "mindspore")
_PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, runs the races and reports."""
    argv = sys.argv[1:] if argv is None else argv
    options = _parse(argv)
    # For the processes of the contestants, in which thread pools are made at import.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from benchmarks.harness import run_race

    found: list[dict[str, Any]] = []
    for workload in options.workloads:
        for race in importlib.import_module(f"benchmarks.{workload}").races(options):
            found.append(_report(workload, race, run_race(race, options.rounds)))
            if not options.json:
                _print(found[-1])
    report = {
        "command": shlex.join(["python", "scripts/benchmark.py", *argv]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "environment": _environment(options),
        "races": found,
    }
    if options.report:
        from benchmarks.page import write_page

        for path in write_page(report, Path(options.report)):
            print(path, file=sys.stderr)
    if options.json:
        print(json.dumps(report))


def _report(workload: str, race: Race, results: list[Result]) -> dict[str, Any]:
    ours = results[0]
    if ours.unavailable:
        raise ValueError(f"{race.name}: {ours.unavailable}")
    sides: list[dict[str, Any]] = []
    for one in results:
        seconds = ratio = per_second = None
        if not one.unavailable:
            seconds = {"median": one.median, "min": min(one.seconds), "max": max(one.seconds)}
            ratio, per_second = one.median / ours.median, race.items / one.median
        sides.append(
            {
                "name": one.contestant.name,
                "limit": one.contestant.limit,
                "unavailable": one.unavailable,
                "seconds": seconds,
                "ratio": ratio,
                "per_second": per_second,
            }
        )
    about = {"workload": workload, "name": race.name, "unit": race.unit, "items": race.items}
    return about | {"sides": sides}


def _print(race: dict[str, Any]) -> None:
    from benchmarks.page import milliseconds, rate

    print(race["name"])
    for side in race["sides"]:
        name = side["name"] + " (limit)" * side["limit"]
        if side["unavailable"]:
            print(f"  {name:<40} left out: {side['unavailable']}")
            continue
        low, median, high = (side["seconds"][key] for key in ("min", "median", "max"))
        spread = f"({milliseconds(low, median)} to {milliseconds(high, median)})"
        print(
            f"  {name:<40} {side['ratio']:7.2f}x {milliseconds(median, median):>9} ms {spread:<20}"
            f" {rate(side['per_second']):>8} {race['unit']}/s",
            flush=True,
        )


def _environment(options: argparse.Namespace) -> dict[str, str]:
    from tinynet.utils.environment import environment, version

    peers = ("timm", "torchvision", "openvino")
    found = environment() | {package: version(package) for package in peers}
    if options.device == "cuda":
        import torch

        found["accelerator"] = torch.cuda.get_device_name()
    return found | {"cores": str(os.cpu_count()), "threads": str(options.threads)}


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(description=DESCRIPTION, epilog=EXAMPLES)
    add = parser.add_argument
    add("workloads", nargs="+", choices=WORKLOADS, metavar="WORKLOAD")
    usual = "(default: the workload's)"
    add("--specs", type=_names, default=[], metavar="A,B", help=usual)
    add("--batch-sizes", type=_sizes, default=[], metavar="N,M", help=usual)
    usual = "(default: torch,mindspore)"
    add("--frameworks", type=_names, default=[*_FRAMEWORKS], metavar="A,B", help=usual)
    add("--device", choices=("cpu", "cuda"), default="cpu", help="of PyTorch (default: cpu)")
    usual = f"{', '.join(_PRECISIONS)} (default: float32)"
    add("--precisions", type=_names, default=["float32"], metavar="A,B", help=usual)
    add("--compile", action="store_true", help="race compiled nets, too")
    before = "a checkout of another commit that races, too"
    add("--before", type=Path, metavar="DIR", help=before)
    add("--disk", type=_names, default=[], metavar="DIR,DIR", help="folders on disks to measure")
    add("--files", type=positive, default=2000, metavar="N", help="of --disk (default: 2000)")
    add("--threads", type=positive, default=1, metavar="N", help="(default: 1)")
    add("--rounds", type=positive, metavar="N", help="(default: 9, of the suite 1)")
    add("--report", metavar="DIR", help="write DIR/benchmark.html and DIR/benchmark.json")
    add("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(argv)
    for argument, known in (("frameworks", _FRAMEWORKS), ("precisions", _PRECISIONS)):
        if unknown := set(getattr(options, argument)) - set(known):
            parser.error(f"--{argument} has {', '.join(unknown)}, expected {', '.join(known)}")
    if options.before and not (options.before / "tinynet").is_dir():
        parser.error(f"--before is {options.before}, expected a checkout of this project")
    for disk in options.disk:
        if not Path(disk).is_dir():
            parser.error(f"--disk has {disk}, expected a folder")
    return options


def _names(text: str) -> list[str]:
    return text.split(",")


def _sizes(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]
