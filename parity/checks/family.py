"""Checks of what both twins share: the spec, the pixels, the numbers that change from step to step.

A mistake here moves both twins alike, so these checks hold it against something outside.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
from PIL import Image

from tinynet.backend import load_backend
from tinynet.data.augment import augment
from tinynet.data.loader import TrainingBatch
from tinynet.data.masks import draw_masks
from tinynet.data.preprocessing import preprocess
from tinynet.data.sampling import Sample, samples_at
from tinynet.net.complexity import count
from tinynet.net.drop_path import drop_path_rates
from tinynet.net.initialise import initial_state
from tinynet.net.twist import derive
from tinynet.recipe import Augmentation, Recipe, load_recipe, training_spec
from tinynet.spec import Spec, format_spec, list_specs, load_spec, parse_spec, spec_document
from tinynet.training.schedule import ema_decay, learning_rate, total_steps
from tinynet.utils.strict_json import format_path

from parity.context import Context
from parity.distances import Array, compare_bits
from parity.reference import oracles, structure
from parity.results import Comparison
from parity.tolerances.bounds import ROUNDOFF

# SHA-256 of the float32 pixels of `_test_card` at TinyNet-E's preprocessing; equal to timm
# 1.0.31's create_transform(is_training=False) on the same image.
TEST_CARD_SHA256 = "cc807855a0bf10150414d847169f759ab7a3daa29b5153cbbc4a37e8ac25f5cb"
# Marks of what else must never change: how four training images of the test card come out (equal to
# torchvision's for the same drawn numbers, see tests/tinynet/data/test_augment.py), in which order
# samples come, and what dropout and drop-path leave out.
TRAINING_CARD = "86ae4ac40210f18e"
SAMPLE_ORDER = "96b28756cf7833cd"
MASKS = "6131e7f493654465"
_AUGMENTATION = Augmentation((0.08, 1.0), (3 / 4, 4 / 3), 0.5, 0.4)
# Of the running statistics. Source: Han et al., TinyNets (arXiv 2010.14819), section 4.
STATISTICS_DECAY = 0.99
# Beyond so many standard errors, a deviation is no chance: one in two million.
_CHANCES = 5
# ImageNet's: what makes the steps of the shipped recipes.
_IMAGES = 1_281_167
_SCHEDULES = ("imagenet", "imagenet_resnet", "digits")


def spec(context: Context) -> Iterator[Comparison]:
    """A spec survives its own JSON, counts to what it expects, and is what its twist makes."""
    spec = context.spec
    yield _fields("JSON round trip", spec, parse_spec(format_spec(spec)))
    yield _resolved(spec)
    if spec.expected is not None:
        counted = count(spec)
        for field in ("macs", "params"):
            expected, found = getattr(spec.expected, field), getattr(counted, field)
            note = "" if found == expected else f"the layers count to {found}, expected {expected}"
            error = abs(found - expected) / expected
            yield Comparison("layer table", f"expected.{field}", error, 0.0, note=note)
    if spec.derivation is not None and spec.derivation.base in list_specs():
        base = load_spec(spec.derivation.base)
        derived = derive(base, spec.derivation.twist, spec.name)
        yield _fields(f"derived from {base.name}", derived, spec)


def _resolved(spec: Spec) -> Comparison:
    # What both twins are built from, so that no comparison of them would show it.
    rows = structure.rows(spec)
    for block in spec.blocks():
        stride = rows[block.key].stride
        expected = {
            "stride": stride,
            "has_skip": rows[block.key].has_skip,
            "padding": structure.padding(spec.padding, block.kernel_size, stride, block.in_size),
        }
        for field, wanted in expected.items():
            found = getattr(block, field)
            if found != wanted:
                note = f"{found}, expected {wanted}"
                return Comparison(
                    "blocks", f"{block.key}.{field}", 1.0, 0.0, kind="bits", note=note
                )
    return Comparison("blocks", "strides, skips and paddings", 0.0, 0.0, kind="bits")


def _fields(candidate: str, found: Spec, expected: Spec) -> Comparison:
    has, wants = dict(_leaves(spec_document(found))), dict(_leaves(spec_document(expected)))
    for path in {**wants, **has}:
        if path != "source" and has.get(path) != wants.get(path):
            note = f"{has.get(path)!r}, expected {wants.get(path)!r}"
            return Comparison(candidate, path, 1.0, 0.0, kind="bits", note=note)
    return Comparison(candidate, "every field", 0.0, 0.0, kind="bits")


def _leaves(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    children: Iterable[tuple[str | int, Any]]
    if isinstance(value, dict):
        children = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        children = enumerate(cast("list[Any]", value))
    else:
        yield format_path(steps), value
        return
    for step, child in children:
        yield from _leaves(child, (*steps, step))


def pixels(context: Context) -> Iterator[Comparison]:
    """The pixel path gives timm's pixels, and every runtime's first layer sees the pixels given."""
    card = preprocess(_test_card(), load_spec("tinynet_e"))
    matches = hashlib.sha256(card.tobytes()).hexdigest() == TEST_CARD_SHA256
    note = "" if matches else "not the pixels that timm's transform makes of the test card"
    yield Comparison("pixel path", "test card", float(not matches), 0.0, kind="bits", note=note)
    what = "not the crops, flips and colours that torchvision makes with the same numbers"
    yield _marked("training images", "training card", _training_card(), TRAINING_CARD, what)
    for framework in context.frameworks:
        yield from _fed(framework)
    stem = context.spec.names.stem
    yield _stem_input("torch eager", stem, context.baseline_trace, context.pixels)
    for candidate in context.candidates:
        yield _stem_input(str(candidate), stem, context.trace(candidate), context.pixels)


def _training_card() -> str:
    spec, card = load_spec("tinynet_e"), _test_card()
    crops = [augment(card, spec, _AUGMENTATION, 5, Sample(0, index)) for index in range(4)]
    return oracles.mark(*crops)


def _fed(framework: str) -> Iterator[Comparison]:
    # Training normalises in the twin, on the device; evaluation does it in tinynet.
    settings = load_spec("tinynet_e").preprocessing
    checks = np.arange(512, dtype=np.uint16).astype(np.uint8)
    images = np.stack([checks, checks[::-1], np.roll(checks, 7)], axis=-1).reshape(2, 16, 16, 3)
    labels, factors = np.array([3, 5], np.int32), np.array([[0.0], [1.25]], np.float32)
    batch = TrainingBatch(images, labels, factors, 2 * factors, ())
    brightness = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    mean, std = (
        np.array(values, np.float32)[:, None, None] for values in (settings.mean, settings.std)
    )
    truths = {
        "pixels": (brightness - mean) / std,
        "labels": labels,
        "dropout": factors,
        "drop_path": 2 * factors,
    }
    found = load_backend(framework).probe.fed(batch, settings)
    for name, truth in truths.items():
        given = found.get(name)
        if given is not None:
            given = given.astype(truth.dtype)  # whatever kind of integer labels are there
        yield compare_bits(f"{framework}, in training", f"{name} of a batch", given, truth)


def _marked(candidate: str, where: str, found: str, expected: str, what: str) -> Comparison:
    matches = found == expected
    note = "" if matches else f"marked {found}, expected {expected}: {what}"
    return Comparison(candidate, where, float(not matches), 0.0, kind="bits", note=note)


def _stem_input(candidate: str, stem: str, trace: dict[str, Any], truth: Array) -> Comparison:
    found = trace[stem].input if stem in trace else None
    return compare_bits(candidate, f"input of {stem}", found, truth)


def _test_card() -> Image.Image:
    # Every row, column and channel differs, so that no flip, shift or channel swap can hide.
    rows, columns, channels = np.ogrid[0:150, 0:210, 0:3]
    values = (rows * 3 + columns * (channels + 1) + rows * columns // 40 + channels * 60) % 256
    return Image.fromarray(values.astype(np.uint8), "RGB")


def parameters(context: Context) -> Iterator[Comparison]:
    """Each twin, built from the state, gives the same state back; a second net of it too, which
    finds whatever building the first left behind.
    """
    for candidate in dict.fromkeys((context.baseline, context.first)):
        read_state = context.twin(candidate).model.read_state
        for title in (candidate.framework, f"{candidate.framework}, second net"):
            found = read_state(context.build(candidate))
            for key, truth in context.state.items():
                yield compare_bits(title, key, found.get(key), truth)


def schedule(context: Context) -> Iterator[Comparison]:
    """Learning rates, decays and what is drawn at random, held against oracles; and the rates that
    each twin's own loop used.
    """
    for name in _SCHEDULES:
        yield from _rates(name, load_recipe(name), _IMAGES)
    for warmup in (False, True):
        yield from _decays(warmup)
    yield from _drop_path(context.spec)
    yield from _drawn()
    yield from _initial(context.spec)
    yield _statistics()
    if context.can_train:
        progress = context.start.progress
        expected = oracles.learning_rates(progress.recipe, progress.images, range(context.steps))
        peak = progress.recipe.schedule.learning_rate
        for candidate in dict.fromkeys((context.baseline, *context.candidates)):
            for step, (found, truth) in enumerate(
                zip(context.course(candidate).rates, expected, strict=True)
            ):
                yield _rate(
                    f"{candidate}, its loop", f"rate of step {step + 1}", found, truth, peak
                )


def _rates(name: str, recipe: Recipe, images: int) -> Iterator[Comparison]:
    epoch = images / recipe.batch_size
    edges = [0, recipe.schedule.warmup_epochs, recipe.epochs]
    edges += [recipe.schedule.warmup_epochs + n * recipe.schedule.decay_epochs for n in (1, 2, 7)]
    last = total_steps(recipe, images) - 1
    steps = {min(max(round(edge * epoch) + d, 0), last) for edge in edges for d in (-1, 0, 1, 2)}
    steps |= {last * share // 17 for share in range(18)}
    ordered = sorted(steps)
    for step, truth in zip(ordered, oracles.learning_rates(recipe, images, ordered), strict=True):
        found = learning_rate(recipe, step, images)
        peak = recipe.schedule.learning_rate
        yield _rate(f"recipe {name}", f"rate of step {step + 1}", found, truth, peak)
    found, expected = total_steps(recipe, images), math.ceil(recipe.epochs * epoch - 1e-9)
    note = "" if found == expected else f"is {found}, expected {expected}"
    yield Comparison(f"recipe {name}", "number of steps", abs(found - expected), 0.0, note=note)


def _decays(warmup: bool) -> Iterator[Comparison]:
    ema = load_recipe("imagenet", [f"ema.warmup={str(warmup).lower()}"]).ema
    assert ema is not None
    updates = (0, 1, 9, 100, 100_000)
    for done, truth in zip(updates, oracles.ema_decays(ema, updates), strict=True):
        candidate = f"average {'with' if warmup else 'without'} warm-up"
        yield _rate(candidate, f"decay after {done} updates", ema_decay(ema, done), truth)


def _drop_path(spec: Spec) -> Iterator[Comparison]:
    found, truth = drop_path_rates(spec, 0.2), oracles.drop_path_rates(spec, 0.2)
    error = float(np.abs(np.subtract(found, truth)).max())
    yield Comparison("drop-path", "rate of each block", error, 2 * ROUNDOFF, ROUNDOFF)


def _drawn() -> Iterator[Comparison]:
    order = [sample.index for sample in samples_at(range(30), 10, 0)]
    what = "another order of samples than ever"
    yield _marked("samples", "order", oracles.mark(np.array(order)), SAMPLE_ORDER, what)
    spec, recipe = load_spec("tinynet_e"), load_recipe("imagenet_drop_path")
    masks = draw_masks(spec, recipe, 0, samples_at(range(5), 10, 0))
    found = oracles.mark(*(mask for mask in masks if mask is not None))
    what = "dropout or drop-path leaves out others than ever"
    yield _marked("masks", "dropout and drop-path", found, MASKS, what)


def _initial(spec: Spec) -> Iterator[Comparison]:
    # Processes that train together, and the twins, draw their weights each for itself.
    state, again = initial_state(spec, 0), initial_state(spec, 0)
    for key, deviation in oracles.initial_deviations(spec).items():
        yield compare_bits("initial weights, drawn twice", key, again[key], state[key])
        # How far the deviation of so many normal numbers is from the truth, by chance.
        chance = 1.0 / math.sqrt(2 * state[key].size)
        found = float(np.sqrt(np.mean(np.square(state[key].astype(np.float64)))))
        error = abs(found / deviation - 1.0)
        passes = error <= _CHANCES * chance
        note = "" if passes else f"deviate by {found:.3g}, expected {deviation:.3g}"
        yield Comparison("initial weights", key, error, _CHANCES * chance, chance, note=note)


def _statistics() -> Comparison:
    recipe = load_recipe("imagenet")
    trained = training_spec(load_spec("tinynet_e"), recipe).batch_norm
    found = trained.momentum if trained else math.nan
    return _rate("recipe imagenet", "batch-norm momentum", found, 1.0 - STATISTICS_DECAY)


def _rate(
    candidate: str, where: str, found: float, truth: float, scale: float | None = None
) -> Comparison:
    # A rate is rounded to float32 once. Where a cosine ends it is nearly nothing, and relative to
    # itself it would be all rounding: so relative to the largest one.
    error = abs(found - truth) / (scale or truth)
    note = "" if error <= 2 * ROUNDOFF else f"is {found:.8g}, expected {truth:.8g}"
    return Comparison(candidate, where, error, 2 * ROUNDOFF, ROUNDOFF, note=note)
