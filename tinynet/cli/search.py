r"""Samples twists of a base that cost the same, trains each of them briefly by a recipe, and
collects what they reached: a table, the front of nets that no other beats, rank correlations of
accuracy with resolution, depth and width at fixed cost, and the nets that the tiny formula makes of
the front.

DIR gets plan.json, a file for each training in models/, and what is collected: table.csv,
report.json, and frontier.json, which `derive --frontier` takes. Give any number of processes on any
number of machines the same command and a DIR that they share: they take trainings one by one, and
each ends when all are done. If one is killed, start it again with the same command: what is done
stays done, and what was interrupted goes on. With more --models or --seeds a search goes on too.

Examples:
  tinynet search --framework torch --output runs/search     digits, ten minutes on one core
  tinynet search --output runs/search --collect             what there is by now
  tinynet search --output runs/search --collect --figures figures
  tinynet derive --frontier runs/search/frontier.json --macs 1M   a net by the curves it found
  tinynet search --framework torch --output shared/search --spec efficientnet_b0 \
                 --recipe imagenet100 --data imagenet100.json --set epochs=30 --device cuda \
                 --workers 12 --costs 0.06,0.12,0.25,0.5 --models 96 --seeds 1 \
                 --resolution 0.4,1.2 --depth 0.4,1.4       the same on each GPU of a cluster

A lease is stale when its process was on this machine and has ended, or when it was not renewed for
ten minutes; another process then goes on with the training. So clocks must agree to some minutes.

A net has diverged when its loss is not finite any more. That is its result: it is reported, it is
not trained again, and the front and the ranks are those of the others.

exit status: 0 when everything is trained, 128 + the signal when a signal ended it, 2 for a wrong
argument or file, or a folder that holds another search.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.cli.command import Parser, UsageError, limited, natural, positive, report
from tinynet.cli.options import add_shared
from tinynet.utils.processes import processors

if TYPE_CHECKING:
    from tinynet.search.worker import Work

_number = partial(limited, what="a number from 0 to 64, above 0")
_BASE, _RECIPE = "search/efficientnet_b0_digits.json", "search/digits_search.json"


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--output", required=True, metavar="DIR", help="the folder of the search")
    add("--collect", action="store_true", help="train nothing, collect what is there")
    add("--figures", metavar="DIR", help="draw what was found (matplotlib)")
    add_shared(parser, "--json")

    nets = parser.add_argument_group("which nets")
    add, usual = nets.add_argument, "(default: %(default)s)"
    add_shared(nets, "--spec", help="the base: name or .json file (default: EfficientNet-B0)")
    costs = f"budgets, as shares of the base's macs {usual}"
    add("--costs", type=_costs, default="0.05,0.1,0.2", metavar="X,...", help=costs)
    add("--models", type=positive, default=36, metavar="N", help=f"how many nets in all {usual}")
    limits = f"allowed multipliers {usual}"
    for name, both in (("--resolution", "0.5,1.5"), ("--depth", "0.25,1"), ("--width", "0.1,2")):
        add(name, type=_range, default=both, metavar="LOW,HIGH", help=limits)
    near = f"how far from its budget a net may be, as a share {usual}"
    add("--tolerance", type=_share, default=0.03, metavar="X", help=near)
    add("--seed", type=natural, default=0, metavar="N", help=f"of nets and training {usual}")

    what = parser.add_argument_group("how each is trained")
    add_shared(what, "--framework")
    add = what.add_argument
    add("--recipe", help="name or .json file (default: that of digits, with four epochs)")
    add("--data", help="as `train` takes it (default: the recipe's)")
    seeds = f"trainings of each net, with seeds from --seed on; they show the noise {usual}"
    add("--seeds", type=positive, default=2, metavar="N", help=seeds)
    add_shared(what, "--set", "--classes-from-data")

    how = parser.add_argument_group("how it is carried out")
    add_shared(how, "--device", "--compile", "--micro-batch", "--save-every")
    add_shared(how, "--precision", choices=("float32", "bfloat16", "float16"))
    add = how.add_argument
    jobs = "nets to train at a time (default: one for each processor, 1 off the CPU)"
    add("--jobs", type=positive, metavar="N", help=jobs)
    workers = "processes that prepare the images of one net (default: none)"
    add("--workers", type=natural, default=0, metavar="N", help=workers)


def run(options: argparse.Namespace) -> int:
    if options.framework is None and not options.collect:
        raise UsageError("--framework is missing, expected torch or mindspore")
    from tinynet.formula.frontier import format_frontier
    from tinynet.search.analysis import collect
    from tinynet.search.plan import load_plan
    from tinynet.search.reports import format_found, format_table, found_document
    from tinynet.search.results import load_results
    from tinynet.training.checks import check_output
    from tinynet.utils.atomic_files import write_text_atomically

    folder = Path(options.output)
    if options.collect:
        plan = load_plan(folder)
    else:
        check_output(folder)
        job = _job(folder, options)
        plan = job.plan
        stopped_by, left = _train(job, options)
        if stopped_by:
            print(f"not done, {left} left; the same command goes on", file=sys.stderr)
            return 128 + stopped_by
    found = collect(plan, load_results(folder))
    document = found_document(plan, found)
    for name, text in (
        ("table.csv", format_table(found)),
        ("frontier.json", format_frontier(found.frontier)),
        ("report.json", json.dumps(document, indent=2) + "\n"),
    ):
        write_text_atomically(folder / name, text)
    figures: list[str] = []
    if options.figures:
        from tinynet.search.figures import draw

        figures = [str(path) for path in draw(Path(options.figures), found)]
    document |= {"output": options.output, "figures": figures}
    report(options, document, format_found(plan, found))
    return 0


def _job(folder: Path, options: argparse.Namespace) -> Work:
    from tinynet.backend import load_backend
    from tinynet.data.open_data import open_data
    from tinynet.data.sources import fingerprint
    from tinynet.recipe import RECIPE_DIRECTORY, load_recipe
    from tinynet.search.plan import Plan, SearchError, open_search
    from tinynet.search.sampling import trainings
    from tinynet.search.worker import Work
    from tinynet.spec import SPEC_DIRECTORY, load_spec
    from tinynet.training.options import Options

    twin = load_backend(options.framework, tune=True)
    recipe = load_recipe(options.recipe or RECIPE_DIRECTORY / _RECIPE, options.set)
    base = options.spec or SPEC_DIRECTORY / _BASE
    data_name = options.data or recipe.data
    if data_name is None:
        raise SearchError(f"--data is not given, and the recipe {recipe.name} has no default")
    data = open_data(data_name, load_spec(base), options.classes_from_data)
    plan = Plan(
        base=data.spec,
        seed=options.seed,
        costs=options.costs,
        resolution=options.resolution,
        depth=options.depth,
        width=options.width,
        tolerance=options.tolerance,
        recipe=recipe,
        framework=options.framework,
        precision=options.precision,
        micro_batch=options.micro_batch,
        images=len(data.train),
        data_sha256=fingerprint(data.train),
    )
    sampled = trainings(plan, options.models, options.seeds)
    open_search(folder, plan)
    how = Options(
        output=folder,
        device=options.device,
        precision=options.precision,
        compiled=twin.step.COMPILED if options.compile is None else options.compile,
        micro_batch=options.micro_batch,
        workers=options.workers,
        save_every=options.save_every,
        # At the end only: the recipe has fewer epochs.
        evaluate_every=math.ceil(recipe.epochs) + 1,
    )
    return Work(folder, plan, sampled, data, how)


def _train(job: Work, options: argparse.Namespace) -> tuple[int, int]:
    """Trains in worker processes; returns the signal that ended it or 0, and how many are left."""
    from tinynet.search.plan import SearchError
    from tinynet.search.results import result_path
    from tinynet.search.worker import work
    from tinynet.utils.process_pool import process_pool, processor_shares

    def left() -> int:
        return sum(not result_path(job.folder, t).exists() for t in job.trainings)

    jobs = options.jobs or (processors() if options.device == "cpu" else 1)
    before, began, stopped_by = left(), time.monotonic(), 0
    total = len(job.trainings)
    if not before:
        return 0, 0
    _tell(total, before)
    with process_pool(processor_shares(min(jobs, before))) as pool:
        working: set[Future[int]] = {pool.submit(work, job) for _ in range(min(jobs, before))}
        last = before
        while working:
            done, working = wait(working, timeout=1, return_when=FIRST_COMPLETED)
            now = left()
            if now < last:
                seconds = (time.monotonic() - began) / (before - now) * now
                _tell(total, now, seconds)
                last = now
            for future in done:
                try:
                    stopped_by = stopped_by or future.result()
                except BrokenProcessPool:
                    raise SearchError(
                        "a process of the search was ended from outside, perhaps for want of "
                        "memory; the same command goes on"
                    ) from None
    return stopped_by, left()


def _tell(total: int, left: int, seconds: float = 0.0) -> None:
    minutes = math.ceil(seconds / 60)
    when = f", about {minutes // 60} h {minutes % 60:02d} min" if minutes else ""
    print(f"{total - left} of {total} trainings done, {left} left{when}", file=sys.stderr)


def _costs(text: str) -> tuple[float, ...]:
    costs = tuple(_number(part) for part in text.split(","))
    if len(set(costs)) < len(costs):
        raise argparse.ArgumentTypeError(f"{text} names a cost twice")
    return costs


def _range(text: str) -> tuple[float, float]:
    numbers = [_number(part) for part in text.split(",")]
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        expected = "expected LOW,HIGH such as 0.5,1.5"
        raise argparse.ArgumentTypeError(f"{text} is not a range, {expected}")
    return numbers[0], numbers[1]


def _share(text: str) -> float:
    value = _number(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share, expected 0 to 1")
    return value
