"""The training loop of both twins, read from top to bottom."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from tinynet.backend import Backend
from tinynet.backend.values import Group
from tinynet.checkpoints.training_state import TrainingState
from tinynet.data.evaluation_batches import Prepared, RankShard
from tinynet.data.loader import load_batches
from tinynet.data.open_data import Data
from tinynet.data.sampling import accumulation, epoch_ends
from tinynet.training.checks import check_same_start
from tinynet.training.evaluation import MetricSums, sum_metrics
from tinynet.training.options import Options, Outcome, Scores, after_step, last_step
from tinynet.training.run import Run
from tinynet.training.schedule import ema_decay, learning_rate
from tinynet.training.step import StepBase


def train(twin: Backend, state: TrainingState, data: Data, options: Options) -> Outcome:
    """Trains to the end of the recipe, or until it is stopped, in a process set up for it.

    Args:
        twin: what to train in.
        state: where to start; new, or what an interrupted run left.
        data: what to train and to evaluate on.
        options: how to go about it.

    Raises:
        TrainingError: the loss is not finite, or the processes start from different states.
        ValueError: a device, precision or batch that cannot be, or an image that cannot be read.
    """
    twin.tuning.tune_process()
    group = twin.distributed.join(options.device)
    try:
        return _train(twin, group, state, data, options)
    finally:
        twin.distributed.leave()


def _train(
    twin: Backend, group: Group[Any], state: TrainingState, data: Data, options: Options
) -> Outcome:
    # What there is to do
    progress = state.progress
    check_same_start(progress, group.size, lambda numbers: twin.distributed.total(numbers, group))
    spec, recipe, images = progress.spec, progress.recipe, progress.images
    first, last = progress.step, last_step(progress, options)
    parts = accumulation(spec, recipe.batch_size, group.size, options.micro_batch)
    step = twin.step.TrainStep(state, group, parts, options.precision, options.compiled)
    batches = load_batches(
        data.train,
        spec,
        recipe,
        progress.seed,
        first_step=first,
        last_step=last,
        ranks=group.size,
        rank=group.rank,
        accumulation=parts,
        workers=options.workers,
        on_corrupt=options.on_corrupt,
    )

    with closing(batches), Run(options, progress, group.rank, group.size) as run:
        for number in range(first, last):
            # One step
            own = list(islice(batches, parts))
            rate = learning_rate(recipe, number, images)
            decay = ema_decay(recipe.ema, progress.ema_updates) if recipe.ema else None
            report = step(own, rate, decay, run.asked_to_stop)
            progress = after_step(progress)
            skipped = tuple(message for batch in own for message in batch.skipped)
            stop = run.step_done(progress, rate, report, skipped)

            # The end of an epoch, or of all
            ends = epoch_ends(number, recipe.batch_size, images)
            done = progress.step == last
            if done or run.evaluation_is_due:
                run.settle()
                progress = run.evaluated(evaluate(twin, step, data, options))

            # A checkpoint
            due = options.save_every is not None and progress.step % options.save_every == 0
            if done or ends or due or stop:
                run.settle()
                run.save(step.read(progress), ends)
            if stop:
                break
        return run.outcome()


def evaluate(twin: Backend, step: StepBase[Any], data: Data, options: Options) -> Scores:
    """Evaluates the net as it is now, each image of the validation set exactly once.

    Args:
        twin: what the step is of.
        step: holds the weights and the averaged ones.
        data: its validation set is used.
        options: its number of workers, which are threads here.
    """
    step.synchronise()
    prepared = Prepared(data.validation, step.spec, options.on_corrupt)
    shard = RankShard(prepared, step.group.rank, step.group.size)
    size = step.recipe.batch_size // (step.group.size * step.accumulation)

    def scores(ema: bool) -> MetricSums:
        net = step.predictor(ema)
        own = sum_metrics(net, shard, size, options.workers, image_name=shard.name)
        total = twin.distributed.total(np.array(own, np.float64), step.group)
        return MetricSums.of_total(total)

    raw, averaged = scores(ema=False), scores(ema=True) if step.average else None
    return Scores(raw, averaged, tuple(prepared.skipped.values()))
