"""Makes a recording: everything that one framework computes, where only it is installed."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.backend import REFERENCE, load_backend
from tinynet.checkpoints.training_state import TrainingState
from tinynet.net.manifest import TRAINED_ROLES, State, manifest
from tinynet.recipe import Recipe
from tinynet.spec import Spec
from tinynet.utils.environment import environment

from parity import inputs
from parity.context import NOISE_SAMPLES, Candidate, Context, stretch_recipe
from parity.distances import Array, norm, relative_error
from parity.recordings.format import LOSS, Given, Recording, Truth, recorded, sample
from parity.reference import oracles
from parity.tolerances.quantities import scales
from parity.trajectory import Trajectory, moved_start

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
    """Records what a candidate computes.

    The reference's part is recorded with it where the candidate runs in the reference's framework.

    Args:
        candidate: from :func:`parity.context.candidates_of`.
        spec: the net.
        state: canonical state, by default one made from ``seed``, with batch-norm statistics
            measured by the candidate's framework.
        weights: what to call the state.
        seed: of pixels, labels, training images and state.
        recipe: of the stretch of training, by default :func:`parity.context.stretch_recipe`'s.
        progress: is told the name of each of :data:`PARTS` when it begins.
    """
    progress("inputs")
    if state is None and candidate.framework != REFERENCE:
        twin, device = load_backend(candidate.framework, tune=True), candidate.device
        state = inputs.sample_state(spec, seed, twin, "float32", device)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(spec, state, seed, [candidate], Path(folder), None)
        context.recipe = recipe or stretch_recipe()
        if candidate.framework != REFERENCE:
            # What the reference would have been given is not known here, but any input is a fair
            # one.
            context.layer_inputs = {k: item.input for k, item in context.trace(candidate).items()}
            context.given_gradients = context.gradients(candidate).parameters
        return _record(context, weights or f"made from seed {seed}", progress)


def record_again(
    candidate: Candidate, recording: Recording, progress: Callable[[str], None] = lambda part: None
) -> Recording:
    """Records what a candidate computes from what another recording was given, bit for bit.

    Args:
        candidate: from :func:`parity.context.candidates_of`.
        recording: the other recording.
        progress: is told the name of each of :data:`PARTS` when it begins.
    """
    progress("inputs")
    given = recording.given
    with tempfile.TemporaryDirectory() as folder:
        context = Context(
            recording.spec, given.state, recording.seed, [candidate], Path(folder), None
        )
        context.recipe = recording.recipe
        context.pixels, context.training_pixels = given.pixels, given.training_pixels
        context.labels = given.labels
        context.layer_inputs, context.given_gradients = given.layer_inputs, given.gradients
        return _record(context, recording.weights, progress)


def _record(context: Context, weights: str, progress: Callable[[str], None]) -> Recording:
    candidate = context.first
    found = _results(context, progress)
    progress("noise")
    compared = candidate.framework == REFERENCE
    truth = _truth(context) if compared else {}
    noise = _baseline_noise(context, truth) if compared else _own_noise(context, found)
    return Recording(
        setting=candidate.setting,
        spec=context.spec,
        recipe=context.recipe,
        weights=weights,
        seed=context.seed,
        images_sha256=_images_sha256(context),
        environment=environment(),
        switches=context.candidate.probe.settings(candidate.device),
        given=Given(
            context.state, context.pixels, context.training_pixels, context.labels,
            context.layer_inputs, context.given_gradients,
        ),
        recorded={name: recorded(name, values) for name, values in found.items()},
        noise=noise,
        truth={
            name: Truth(sample(name, values).astype(np.float64), norm(values))
            for name, values in truth.items()
        },
    )  # fmt: skip


def _results(
    context: Context, progress: Callable[[str], None] = lambda part: None
) -> dict[str, Array]:
    candidate = context.first
    progress("layers")
    found = _named(context.spec, _outputs(context.trace(candidate)), context.layers(candidate)[0])
    progress("training step")
    found |= _named(context.spec, gradients=context.gradients(candidate))
    progress("optimizers")
    found |= _named(
        context.spec, updates={kind: context.update(kind) for kind in context.optimizers}
    )
    progress("training")
    if context.can_train:
        found |= _named(context.spec, run=context.course(candidate).trajectory)
    return found


def _truth(context: Context) -> dict[str, Array]:
    return _named(
        context.spec,
        _outputs(context.reference_trace),
        context.reference_layers,
        context.reference_gradients,
        {kind: context.reference_update(kind) for kind in context.optimizers},
        context.reference_course if context.can_train else None,
    )


def _baseline_noise(context: Context, truth: Mapping[str, Array]) -> dict[str, float]:
    # As the suite measures it: how far float32 is from float64, several times.
    spec = context.spec
    updates = {kind: context.baseline_updates(kind) for kind in context.optimizers}
    samples = [
        _named(
            spec, {name: several[index] for name, several in context.baseline_outputs.items()},
            gradients=context.baseline_gradients[index],
            updates={kind: several[index] for kind, several in updates.items()},
        )
        for index in range(NOISE_SAMPLES)
    ]  # fmt: skip
    samples += [_named(spec, layers=found) for found in context.baseline_layers]
    samples += [_named(spec, run=run) for run in (context.envelope if context.can_train else ())]
    return _largest(truth, samples)


def _own_noise(context: Context, found: Mapping[str, Array]) -> dict[str, float]:
    # Without float64: how far float32 moves when all that the net is given moves by a rounding.
    mode = context.candidate.predict.MODES[0]
    quiet = dataclasses.replace(context.first, mode=mode, precision="float32")
    still = found if quiet == context.first else _results(_moved(context, quiet, 0))
    samples = [_results(_moved(context, quiet, index)) for index in range(1, NOISE_SAMPLES)]
    return _largest(still, samples)


def _moved(context: Context, candidate: Candidate, index: int) -> Context:
    moved = Context(context.spec, context.state, context.seed, [candidate], context.folder, None)

    def jitter(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: inputs.jitter(array, index, context.seed) for name, array in arrays.items()}

    moved.recipe = context.recipe
    moved.pixels = inputs.jitter(context.pixels, index, context.seed)
    moved.training_pixels = inputs.jitter(context.training_pixels, index, context.seed)
    moved.labels = context.labels
    moved.layer_inputs, moved.given_gradients = (
        jitter(context.layer_inputs), jitter(context.given_gradients),
    )  # fmt: skip
    if context.can_train:
        moved.start = moved_start(context.start, index)
    return moved


def _largest(truth: Mapping[str, Array], samples: list[dict[str, Array]]) -> dict[str, float]:
    scale = scales(truth, {name: norm(values) for name, values in truth.items()})
    noise: dict[str, float] = {}
    for name, values in truth.items():
        found = [each[name] for each in samples if name in each]
        noise[name] = max(relative_error(each, values, scale.get(name)) for each in found)
    # Runs that a rounding drove apart meet by chance now and then: the widest so far counts.
    losses = [name for name in noise if name.startswith(LOSS)]
    for before, name in itertools.pairwise(losses):
        noise[name] = max(noise[before], noise[name])
    return noise


def _outputs(trace: Mapping[str, Any]) -> dict[str, Array]:
    return {name: item.output for name, item in trace.items()}


def _named(
    spec: Spec,
    outputs: Mapping[str, Array] | None = None,
    layers: Mapping[str, Array] | None = None,
    gradients: Any = None,
    updates: Mapping[str, TrainingState] | None = None,
    run: Trajectory | None = None,
) -> dict[str, Array]:
    # In the order of the suite's checks, and within one in that of the check.
    found: dict[str, Array] = {}
    if layers is not None:
        order = [name for name in outputs or layers if name in layers]
        found |= {f"layers-isolated/{name}": layers[name] for name in order}
    if outputs:
        found |= {f"layers-chained/{name}": values for name, values in outputs.items()}
        name = spec.names.classifier
        found[f"logits/{name}"] = outputs[name]
    if gradients is not None:
        found["loss/loss"] = np.array(gradients.loss)
        flow = reversed(_trained(spec))
        found |= {f"gradients-chained/{key}": gradients.parameters[key] for key in flow}
        found["gradients-chained/input"] = gradients.input
        found |= {f"statistics/{key}": values for key, values in gradients.statistics.items()}
    for kind, state in (updates or {}).items():
        for slot, arrays in state.slots.items():
            found |= {f"optimizer/{kind}/{slot} of {k}": v for k, v in arrays.items()}
        found |= {f"optimizer/{kind}/{key}": state.weights[key] for key in _trained(spec)}
        found |= {f"ema/{key}": values for key, values in (state.ema or {}).items()}
    if run is not None:
        found |= {f"{LOSS}{step + 1}": np.array(loss) for step, loss in enumerate(run.losses)}
        found |= {f"trajectory/{kind}": v for kind, v in run.tensors_by_kind.items()}
    return found


def _trained(spec: Spec) -> Sequence[str]:
    return [key for key, entry in manifest(spec).items() if entry.role in TRAINED_ROLES]


def _images_sha256(context: Context) -> str:
    if not context.can_train:
        return ""
    source = context.source
    return oracles.mark(*(np.asarray(source.image(index)) for index in range(len(source))))
