r"""Trains a net by a recipe. The recipe decides what is computed, the framework only where: the
same batches, masks, learning rates and updates come out in PyTorch and in MindSpore, and a run that
was interrupted in one goes on in the other.

DATA is "digits", a folder with train/ and val/ in ImageNet's layout (or, from `pack-dataset`, with
train.zip and val.zip), a file of `make-subset`, or package.module:function for a Python data set.
SPEC and RECIPE are names or .json files.

DIR gets last.safetensors and best.safetensors (training checkpoints: weights, averages, optimizer,
progress; any command takes their weights), log.jsonl, tensorboard/ and run.json, which holds all
that it takes to repeat the run. SIGTERM and Ctrl-C write a checkpoint and end it resumably.

Examples:
  tinynet train --framework torch --recipe digits --output runs/digits     two minutes on a CPU
  tinynet train --framework mindspore --recipe digits --output runs/digits --resume auto
                                                    go on, if need be in another framework
  tinynet train --framework torch --spec tinynet_c --recipe imagenet --data imagenet \
                --output runs/c --device cuda --precision bfloat16 --compile --workers 12 \
                --micro-batch 256
  tinynet train ... --set batch_size=256 --set schedule.learning_rate=0.012   another recipe
  torchrun --nproc-per-node 8 -m tinynet train --framework torch --device cuda ...
  msrun --worker_num 8 --local_worker_num 8 "$(command -v tinynet)" train --framework mindspore \
        --device ascend ...

The recipe's batch is that of one optimizer step over all processes. Where it does not fit,
--micro-batch passes it through in parts, with one update.

exit status: 0 when the recipe or --stop-after is done, 128 + the signal when a signal ended it
(MindSpore turns Ctrl-C into a SIGTERM), 2 for a wrong argument or file, or a loss that is not
finite.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, UsageError, command_line, natural, positive, report
from tinynet.cli.options import add_shared
from tinynet.utils.processes import processors

if TYPE_CHECKING:
    from tinynet.checkpoints.training_state import TrainingState
    from tinynet.data.open_data import Data
    from tinynet.recipe import Recipe
    from tinynet.training.options import Outcome


def add_arguments(parser: Parser) -> None:
    what = parser.add_argument_group("what is trained")
    add = what.add_argument
    add_shared(what, "--framework", required=True)
    add("--recipe", required=True, help="name (imagenet) or .json file")
    add_shared(what, "--spec", help="name (tinynet_c) or .json file (default: the recipe's)")
    add("--data", help="what to train on (default: the recipe's)")
    add("--output", required=True, metavar="DIR", help="the folder of the run")
    add("--seed", type=int, metavar="N", help="of weights, order, crops, masks (default: 0)")
    add_shared(what, "--set", "--classes-from-data")

    start = parser.add_argument_group("where it starts")
    resume = "a training checkpoint of either framework, in any format; auto: DIR's last, if any"
    start.add_argument("--resume", metavar="CKPT", help=resume)
    weights = "weights to start from, to fine-tune; a file that `convert` reads"
    add_shared(start, "--weights", required=False, help=weights)
    add_shared(start, "--ema")

    how = parser.add_argument_group("how it is carried out")
    add_shared(how, "--device", "--precision", "--compile", "--micro-batch")
    add = how.add_argument
    workers = "processes that prepare images, 0 for none (default: its share of the cores, but one)"
    add("--workers", type=natural, default=_usual_workers(), metavar="N", help=workers)
    corrupt = "at an image that cannot be read: stop, or take another and count (default: stop)"
    add("--corrupt", choices=("stop", "skip"), default="stop", help=corrupt)
    add("--stop-after", type=positive, metavar="STEPS", help="end there, resumably")

    records = parser.add_argument_group("records")
    add = records.add_argument
    add("--log-every", type=positive, default=50, metavar="STEPS", help="(default: 50)")
    add("--evaluate-every", type=positive, default=1, metavar="EPOCHS", help="(default: 1)")
    add("--keep-every", type=positive, metavar="EPOCHS", help="keep a checkpoint so often")
    add_shared(records, "--save-every", "--json")


def run(options: argparse.Namespace) -> int:
    if options.ema and not options.weights:
        raise UsageError("--ema needs --weights")
    if options.weights and options.resume not in (None, "auto"):
        raise UsageError("--weights starts a run, and --resume goes on with one")
    from tinynet.backend import load_backend

    twin = load_backend(options.framework, tune=True)
    from tinynet.data.open_data import open_data
    from tinynet.recipe import load_recipe
    from tinynet.spec import load_spec
    from tinynet.training.checks import check_output
    from tinynet.training.loop import train
    from tinynet.training.options import Options, Outcome, last_step

    check_output(Path(options.output))
    recipe = load_recipe(options.recipe, options.set)
    spec_name, data_name = options.spec or recipe.spec, options.data or recipe.data
    if spec_name is None or data_name is None:
        missing = "--spec" if spec_name is None else "--data"
        raise ValueError(f"{missing} is not given, and the recipe {recipe.name} has no default")
    data = open_data(data_name, load_spec(spec_name), options.classes_from_data)
    resumed = _resumed(options)
    state = _start(options, recipe, data, resumed)
    how = Options(
        output=Path(options.output),
        device=options.device,
        precision=options.precision,
        compiled=twin.step.COMPILED if options.compile is None else options.compile,
        micro_batch=options.micro_batch,
        workers=options.workers,
        on_corrupt=options.corrupt,
        log_every=options.log_every,
        save_every=options.save_every,
        evaluate_every=options.evaluate_every,
        keep_every=options.keep_every,
        stop_after=options.stop_after,
        command=command_line(options.words, _launcher()),
    )
    if resumed and state.progress.step >= last_step(state.progress, how):
        # A job that is started again and again must succeed in the end.
        outcome = Outcome(state.progress, None, math.nan, resumed, 0)
    else:
        outcome = train(twin, state, data, how)
    # torchrun's and msrun's number of the process.
    if os.environ.get("RANK", os.environ.get("RANK_ID", "0")) != "0":
        # A launcher ends the others as soon as one fails, and the first may still be writing.
        return 0
    report(options, _document(outcome, options), _describe(outcome, options))
    return 128 + outcome.stopped_by if outcome.stopped_by else 0


def _resumed(options: argparse.Namespace) -> Path | None:
    from tinynet.training.checks import TrainingError
    from tinynet.training.run import LAST

    last = Path(options.output) / LAST
    if options.resume == "auto":
        return last if last.exists() else None
    if options.resume is None and last.exists():
        advice = "--resume auto goes on with it, another --output starts a new one"
        raise TrainingError(f"{options.output}: holds a run already; {advice}")
    return None if options.resume is None else Path(options.resume)


def _start(
    options: argparse.Namespace, recipe: Recipe, data: Data, resumed: Path | None
) -> TrainingState:
    from tinynet.checkpoints.files import load_checkpoint, load_training
    from tinynet.checkpoints.training_state import Progress, initial_training_state
    from tinynet.data.sources import fingerprint
    from tinynet.training.checks import TrainingError, check_resumed

    seed = 0 if options.seed is None else options.seed
    images, sha256 = len(data.train), fingerprint(data.train)
    if resumed is None:
        weights = None
        if options.weights:
            weights = load_checkpoint(options.weights, data.spec, options.ema).state
        return initial_training_state(data.spec, recipe, seed, images, sha256, weights)
    found = load_training(resumed)
    asked = Progress(data.spec, recipe, seed, images, sha256)
    check_resumed(found.progress, asked, str(resumed))
    if options.seed not in (None, found.progress.seed):
        expected = f"expected {options.seed} as named"
        raise TrainingError(f"{resumed}: has seed {found.progress.seed}, {expected}")
    # Equal to what was asked for; the citations may differ, and so may what they were called.
    progress = dataclasses.replace(found.progress, spec=data.spec, recipe=recipe)
    return dataclasses.replace(found, progress=progress)


def _launcher() -> str:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    return "msrun" if "MS_WORKER_NUM" in os.environ else ""


def _document(outcome: Outcome, options: argparse.Namespace) -> dict[str, Any]:
    scores = outcome.scores
    return {
        "output": options.output,
        "epochs": outcome.progress.epoch,
        "top1": scores.raw.top1 if scores else None,
        "ema_top1": scores.ema.top1 if scores and scores.ema else None,
        "loss": None if math.isnan(outcome.loss) else outcome.loss,
        "checkpoint": str(outcome.checkpoint),
        "step": outcome.progress.step,
        "best": dataclasses.asdict(outcome.progress.best) if outcome.progress.best else None,
        "stopped_by": outcome.stopped_by or None,
    }


def _describe(outcome: Outcome, options: argparse.Namespace) -> str:
    progress, scores = outcome.progress, outcome.scores
    lines = [f"{progress.spec.name}: {progress.step} steps, {progress.epoch:.2f} epochs"]
    if scores:
        lines.append(f"top-1           {scores.raw.top1:7.3f} %  of {scores.raw.images} images")
    if scores and scores.ema:
        lines.append(f"top-1, averaged {scores.ema.top1:7.3f} %")
    if outcome.scores is None and not outcome.stopped_by:
        lines.append("nothing was left to do")
    elif outcome.stopped_by or options.stop_after == progress.step:
        lines.append("not done; the same command with --resume auto goes on")
    return "\n".join([*lines, f"{outcome.checkpoint}"])


def _usual_workers() -> int:
    # torchrun's and msrun's number of processes on a machine; msrun tells only that of all.
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("MS_WORKER_NUM", "1")))
    return max(1, processors() // processes - 1)
