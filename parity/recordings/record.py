"""Makes a recording: everything that one framework computes, where only it is installed."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tinynet.backend import REFERENCE, load_backend
from tinynet.net.manifest import State
from tinynet.recipe import Recipe
from tinynet.spec import Spec
from tinynet.utils.environment import environment

from parity import inputs
from parity.candidates import Candidate
from parity.checks import RECORDED
from parity.checks.base import MeasuredCheck
from parity.context import NOISE_SAMPLES, Context
from parity.context_training import Inputs
from parity.distances import Array, norm, relative_error
from parity.recordings.compare import scales
from parity.recordings.format import LOSS, Given, Recording, recorded
from parity.reference import oracles
from parity.trajectory import moved_start

# What is done one after the other.
PARTS = ("inputs", "layers", "training step", "optimizers", "training", "noise")


def record(
    candidate: Candidate,
    spec: Spec,
    state: State | None = None,
    weights: str = "",
    seed: int = 0,
    recipe: Recipe | None = None,
    progress: Callable[[str], None] = lambda part: None,
) -> Recording:
    """Records what a candidate computes; in the reference's framework, with the reference's part.

    Args:
        candidate: from :func:`parity.candidates.candidates_of`.
        spec: the net.
        state: canonical state, by default one made from ``seed``, with batch-norm statistics
            measured by the candidate's framework.
        weights: what to call the state.
        seed: of pixels, labels, training images and state.
        recipe: of the stretch of training, by default that of
            :func:`parity.context_training.stretch_recipe`.
        progress: is told the name of each of :data:`PARTS` when it begins.
    """
    progress("inputs")
    if state is None and candidate.framework != REFERENCE:
        twin, device = load_backend(candidate.framework, tune=True), candidate.device
        state = inputs.sample_state(spec, seed, twin, "float32", device)
    with tempfile.TemporaryDirectory() as folder:
        given, alone = Inputs(recipe=recipe), candidate.framework != REFERENCE
        context = Context(spec, state, seed, [candidate], Path(folder), None, given, alone)
        return _record(context, weights or f"made from seed {seed}", progress)


def record_again(
    candidate: Candidate, recording: Recording, progress: Callable[[str], None] = lambda part: None
) -> Recording:
    """Records as :func:`record` does, from what another recording was given, bit for bit."""
    progress("inputs")
    spec, seed, given = recording.spec, recording.seed, recording.given
    images = given.pixels, given.training_pixels, given.labels
    own = Inputs(*images, given.layer_inputs, given.gradients, recording.recipe)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(spec, given.state, seed, [candidate], Path(folder), None, own)
        return _record(context, recording.weights, progress)


def _record(context: Context, weights: str, progress: Callable[[str], None]) -> Recording:
    candidate = context.first
    found = _results(context, progress)
    progress("noise")
    truth: dict[str, Array] = {}
    if candidate.framework == REFERENCE:
        checks = [check for check in RECORDED.values() if _can_run(check, context)]
        for check in checks:
            truth |= _named(check, check.truths(context))
        # As the suite measures it: how far float32 is from float64, several times.
        samples = [_named(c, baseline) for c in checks for baseline in c.baselines(context)]
        noise = _largest(truth, samples)
    else:
        noise = _own_noise(context, found)
    images = context.pixels, context.training_pixels, context.labels
    given = dict(context.layer_inputs), dict(context.given_gradients)
    return Recording(
        setting=candidate.setting,
        spec=context.spec,
        recipe=context.recipe,
        weights=weights,
        seed=context.seed,
        images_sha256=_images_sha256(context),
        environment=environment(),
        switches=context.twin(candidate).probe.settings(candidate.device),
        given=Given(context.state, *images, *given),
        recorded={name: recorded(name, values) for name, values in found.items()},
        noise=noise,
        truth={name: recorded(name, values, np.float64) for name, values in truth.items()},
    )


def _can_run(check: MeasuredCheck, context: Context) -> bool:
    return check.needs != "images" or context.can_train


def _named(check: MeasuredCheck, tensors: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{check.name}/{place}": values for place, values in tensors.items()}


def _results(
    context: Context, progress: Callable[[str], None] = lambda part: None
) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for part in PARTS:
        checks = [check for check in RECORDED.values() if check.recorded_with == part]
        if checks:
            progress(part)
        for check in checks:
            if _can_run(check, context):
                found |= _named(check, check.found(context, context.first))
    return found


def _own_noise(context: Context, found: Mapping[str, Array]) -> dict[str, float]:
    # Without float64: how far float32 moves when all that the net is given moves by a rounding.
    mode = context.twin(context.first).predict.MODES[0]
    quiet = dataclasses.replace(context.first, mode=mode, precision="float32")
    still = found if quiet == context.first else _results(_moved(context, quiet, 0))
    samples = [_results(_moved(context, quiet, index)) for index in range(1, NOISE_SAMPLES)]
    return _largest(still, samples)


def _moved(context: Context, candidate: Candidate, index: int) -> Context:
    spec, state, seed, folder = context.spec, context.state, context.seed, context.folder
    given = Inputs(
        inputs.jitter(context.pixels, index, seed),
        inputs.jitter(context.training_pixels, index, seed),
        context.labels,
        context.moved(context.layer_inputs, index),
        context.moved(context.given_gradients, index),
        context.recipe,
        moved_start(context.start, index) if context.can_train else None,
    )
    return Context(spec, state, seed, [candidate], folder, None, given)


def _largest(truth: Mapping[str, Array], samples: list[dict[str, Array]]) -> dict[str, float]:
    scale = scales(truth, {name: norm(values) for name, values in truth.items()})
    noise: dict[str, float] = {}
    for name, values in truth.items():
        found = (each[name] for each in samples if name in each)
        noise[name] = max(relative_error(each, values, scale.get(name)) for each in found)
    # Runs that a rounding drove apart meet by chance now and then: the widest so far counts.
    losses = [name for name in noise if name.startswith(LOSS)]
    for before, name in itertools.pairwise(losses):
        noise[name] = max(noise[before], noise[name])
    return noise


def _images_sha256(context: Context) -> str:
    if not context.can_train:
        return ""
    source = context.source
    return oracles.mark(*(np.asarray(source.image(index)) for index in range(len(source))))
