"""The numbers that change from step to step, and what is drawn at random."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum

import numpy as np

from tinynet.data.masks import draw_masks
from tinynet.data.sampling import samples_at
from tinynet.net.drop_path import drop_path_rates
from tinynet.net.initialise import initial_state
from tinynet.recipe import Recipe, load_recipe, training_spec
from tinynet.spec import Spec, load_spec
from tinynet.training import loop
from tinynet.training.schedule import ema_decay, learning_rate, total_steps
from tinynet.utils.random_numbers import uniform

from parity.checks.base import Check, compare_equal
from parity.context import Context
from parity.context_training import STEPS
from parity.distances import compare_bits
from parity.reference import oracles
from parity.results import CheckResult, Comparison
from parity.tolerances.bounds import ROUNDOFF
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect

# In which order samples come, and what dropout and drop-path leave out.
SAMPLE_ORDER = "96b28756cf7833cd"
MASKS = "6131e7f493654465"
# Of the running statistics. Source: Han et al., TinyNets (arXiv 2010.14819), section 4.
STATISTICS_DECAY = 0.99
# A deviation beyond so many standard errors comes by chance once in two million.
_CHANCES = 5
# ImageNet's: what makes the steps of the shipped recipes.
_IMAGES = 1_281_167
_SCHEDULES = ("imagenet", "imagenet_resnet", "digits")


class _Part(StrEnum):
    RATE = "learning rate"
    STEPS = "steps"
    DECAY = "decay of the average"
    DROP_PATH = "drop-path"
    SAMPLES = "samples"
    MASKS = "masks"
    INITIAL = "initial weights"
    MOMENTUM = "batch-norm momentum"
    LOOP = "loop"


_FUNCTIONS = {
    _Part.RATE: learning_rate,
    _Part.STEPS: total_steps,
    _Part.DECAY: ema_decay,
    _Part.DROP_PATH: drop_path_rates,
    _Part.SAMPLES: samples_at,
    _Part.MASKS: draw_masks,
    _Part.INITIAL: initial_state,
    _Part.MOMENTUM: training_spec,
}


class ScheduleCheck(Check):
    """Compares rates, decays and what is drawn at random with oracles, since a mistake there moves
    both twins alike; and the rates that each twin's own loop used.
    """

    name = "schedule"
    title = "Learning rates, decays and what is drawn"
    unit = "relative error"
    reason = "one rounding to float32; what is drawn at random never changes"
    drawing = ""

    def compare(self, context: Context) -> Iterator[Comparison]:
        for name in _SCHEDULES:
            yield from _rates(name, load_recipe(name), _IMAGES)
        for warmup in (False, True):
            yield from _decays(warmup)
        yield from _drop_path(context.spec)
        yield from _drawn()
        yield from _initial(context.spec)
        yield _momentum()
        if context.can_train:
            peak, expected = _expected(context)
            for candidate in context.with_baseline:
                rates = zip(context.course(candidate).rates, expected, strict=True)
                for step, (found, truth) in enumerate(rates):
                    title, where = f"{candidate}, its loop", f"rate of step {step + 1}"
                    yield _rate(title, where, found, truth, _Part.LOOP, peak)

    def locate(self, context: Context, result: CheckResult) -> Suspect:
        first = result.failures[0]
        if first.part == _Part.LOOP:
            return self._loop(context, result)
        if {_Part.SAMPLES, _Part.MASKS} <= {item.part for item in result.failures}:
            explanation = "All that is drawn at random is drawn otherwise."
            return self.suspect(first, Source.of(uniform), explanation)
        source = Source.of(_FUNCTIONS[_Part(first.part)])
        return self.suspect(first, source, f"{first.where} ({first.candidate}) {first.note}.")

    def _loop(self, context: Context, result: CheckResult) -> Suspect:
        # The rates are what the loops say they trained with.
        first = result.failures[0]
        progress = context.start.progress
        peak, expected = _expected(context)
        rates = [learning_rate(progress.recipe, step, progress.images) for step in range(STEPS)]
        if np.abs(np.subtract(rates, expected)).max() / peak > 2 * ROUNDOFF:
            explanation = f"The {first.where} {first.note}."
            return self.suspect(first, Source.of(learning_rate), explanation)
        found = f"the {first.where} {first.note}"
        explanation = f"The schedule is right, but the loop trains otherwise: {found}."
        return self.suspect(first, Source.of(loop.train), explanation)


def _expected(context: Context) -> tuple[float, list[float]]:
    # The largest rate of the stretch of training, and the rate of each step.
    progress = context.start.progress
    rates = oracles.learning_rates(progress.recipe, progress.images, range(STEPS))
    return progress.recipe.schedule.learning_rate, rates


def _rates(name: str, recipe: Recipe, images: int) -> Iterator[Comparison]:
    epoch, schedule, title = images / recipe.batch_size, recipe.schedule, f"recipe {name}"
    edges = [0, schedule.warmup_epochs, recipe.epochs]
    edges += [schedule.warmup_epochs + n * schedule.decay_epochs for n in (1, 2, 7)]
    last = total_steps(recipe, images) - 1
    steps = {min(max(round(edge * epoch) + d, 0), last) for edge in edges for d in (-1, 0, 1, 2)}
    steps |= {last * share // 17 for share in range(18)}
    ordered = sorted(steps)
    for step, truth in zip(ordered, oracles.learning_rates(recipe, images, ordered), strict=True):
        found, where = learning_rate(recipe, step, images), f"rate of step {step + 1}"
        yield _rate(title, where, found, truth, _Part.RATE, schedule.learning_rate)
    found, expected = total_steps(recipe, images), math.ceil(recipe.epochs * epoch - 1e-9)
    note = "" if found == expected else f"is {found}, expected {expected}"
    error = abs(found - expected)
    yield Comparison(title, "number of steps", error, 0.0, note=note, part=_Part.STEPS)


def _decays(warmup: bool) -> Iterator[Comparison]:
    ema = load_recipe("imagenet", [f"ema.warmup={str(warmup).lower()}"]).ema
    if ema is None:
        raise ValueError("the recipe imagenet averages no weights")
    updates = (0, 1, 9, 100, 100_000)
    title = f"average {'with' if warmup else 'without'} warm-up"
    for done, truth in zip(updates, oracles.ema_decays(ema, updates), strict=True):
        yield _rate(title, f"decay after {done} updates", ema_decay(ema, done), truth, _Part.DECAY)


def _drop_path(spec: Spec) -> Iterator[Comparison]:
    found, truth = drop_path_rates(spec, 0.2), oracles.drop_path_rates(spec, 0.2)
    error, where = float(np.abs(np.subtract(found, truth)).max()), "rate of each block"
    yield Comparison("drop-path", where, error, 2 * ROUNDOFF, ROUNDOFF, part=_Part.DROP_PATH)


def _drawn() -> Iterator[Comparison]:
    order = np.array([sample.index for sample in samples_at(range(30), 10, 0)])
    note = oracles.unmarked(SAMPLE_ORDER, "another order of samples than ever", order)
    yield compare_equal("samples", "order", note, part=_Part.SAMPLES)
    spec, recipe = load_spec("tinynet_e"), load_recipe("imagenet_drop_path")
    drawn = draw_masks(spec, recipe, 0, samples_at(range(5), 10, 0))
    masks = [mask for mask in drawn if mask is not None]
    note = oracles.unmarked(MASKS, "dropout or drop-path leaves out others than ever", *masks)
    yield compare_equal("masks", "dropout and drop-path", note, part=_Part.MASKS)


def _initial(spec: Spec) -> Iterator[Comparison]:
    # Processes that train together, and the twins, draw their weights each for itself.
    state, again = initial_state(spec, 0), initial_state(spec, 0)
    for key, deviation in oracles.initial_deviations(spec).items():
        twice = "initial weights, drawn twice"
        yield compare_bits(twice, key, again[key], state[key], part=_Part.INITIAL)
        # How far the deviation of so many normal numbers is from the truth, by chance.
        chance = 1.0 / math.sqrt(2 * state[key].size)
        found = float(np.sqrt(np.mean(np.square(state[key].astype(np.float64)))))
        error, bound = abs(found / deviation - 1.0), _CHANCES * chance
        note = "" if error <= bound else f"deviate by {found:.3g}, expected {deviation:.3g}"
        title = "initial weights"
        yield Comparison(title, key, error, bound, chance, note=note, part=_Part.INITIAL)


def _momentum() -> Comparison:
    trained = training_spec(load_spec("tinynet_e"), load_recipe("imagenet")).batch_norm
    against = trained.momentum if trained else math.nan, 1.0 - STATISTICS_DECAY
    return _rate("recipe imagenet", "batch-norm momentum", *against, _Part.MOMENTUM)


def _rate(
    candidate: str, where: str, found: float, truth: float, part: _Part, scale: float | None = None
) -> Comparison:
    # A rate is rounded to float32 once. Where a cosine ends it is nearly nothing, and relative to
    # itself it would be all rounding: so relative to the largest one.
    error = abs(found - truth) / (scale or truth)
    note = "" if error <= 2 * ROUNDOFF else f"is {found:.8g}, expected {truth:.8g}"
    return Comparison(candidate, where, error, 2 * ROUNDOFF, ROUNDOFF, note=note, part=part)
