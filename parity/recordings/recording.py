"""Recording a trace pack: everything that one framework computes, where only it is installed."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.backend import JUDGE, load_backend
from tinynet.checkpoints.training_state import TrainingState
from tinynet.net.manifest import TRAINED_ROLES, State, manifest
from tinynet.recipe import Recipe
from tinynet.spec import Spec
from tinynet.utils.environment import environment

from parity import inputs
from parity.context import NOISE_SAMPLES, Bench, Subject, stretch_recipe
from parity.distances import Array, norm, relative_error
from parity.recordings.format import LOSS, Given, Pack, Truth, recorded, sample
from parity.reference import oracles
from parity.tolerances.quantities import scales
from parity.trajectory import Trajectory, moved_start

# What is done one after the other.
PARTS = ("inputs", "layers", "training step", "optimizers", "training", "noise")


def record(
    subject: Subject,
    spec: Spec,
    state: State | None = None,
    weights: str = "",
    seed: int = 0,
    recipe: Recipe | None = None,
    progress: Callable[[str], None] = lambda part: None,
) -> Pack:
    """Records what a subject computes.

    The judge's part is recorded with it where the subject runs in the judge's framework.

    Args:
        subject: from :func:`parity.context.subjects_of`.
        spec: the net.
        state: canonical state, by default one made from ``seed``, with batch-norm statistics
            measured by the subject's framework.
        weights: what to call the state.
        seed: of pixels, labels, training images and state.
        recipe: of the stretch of training, by default :func:`parity.context.stretch_recipe`'s.
        progress: is told the name of each of :data:`PARTS` when it begins.
    """
    progress("inputs")
    if state is None and subject.framework != JUDGE:
        twin, device = load_backend(subject.framework), subject.device
        state = inputs.sample_state(spec, seed, twin, "float32", device)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(spec, state, seed, [subject], Path(folder), None)
        bench.recipe = recipe or stretch_recipe()
        if subject.framework != JUDGE:
            # What the judge would have been given is not known here, but any input is a fair one.
            bench.layer_inputs = {k: item.input for k, item in bench.trace(subject).items()}
            bench.given_gradients = bench.gradients(subject).parameters
        return _record(bench, weights or f"made from seed {seed}", progress)


def record_again(
    subject: Subject, pack: Pack, progress: Callable[[str], None] = lambda part: None
) -> Pack:
    """Records what a subject computes from what another recording was given, bit for bit.

    Args:
        subject: from :func:`parity.context.subjects_of`.
        pack: the other recording.
        progress: is told the name of each of :data:`PARTS` when it begins.
    """
    progress("inputs")
    given = pack.given
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pack.spec, given.state, pack.seed, [subject], Path(folder), None)
        bench.recipe = pack.recipe
        bench.pixels, bench.training_pixels = given.pixels, given.training_pixels
        bench.labels = given.labels
        bench.layer_inputs, bench.given_gradients = given.layer_inputs, given.gradients
        return _record(bench, pack.weights, progress)


def _record(bench: Bench, weights: str, progress: Callable[[str], None]) -> Pack:
    subject = bench.first
    found = _results(bench, progress)
    progress("noise")
    judged = subject.framework == JUDGE
    truth = _truth(bench) if judged else {}
    noise = _reference_noise(bench, truth) if judged else _own_noise(bench, found)
    return Pack(
        setting=subject.setting,
        spec=bench.spec,
        recipe=bench.recipe,
        weights=weights,
        seed=bench.seed,
        images_sha256=_images_sha256(bench),
        environment=environment(),
        switches=bench.candidate.environment.settings(subject.device),
        given=Given(
            bench.state, bench.pixels, bench.training_pixels, bench.labels,
            bench.layer_inputs, bench.given_gradients,
        ),
        recorded={name: recorded(name, values) for name, values in found.items()},
        noise=noise,
        truth={
            name: Truth(sample(name, values).astype(np.float64), norm(values))
            for name, values in truth.items()
        },
    )  # fmt: skip


def _results(bench: Bench, progress: Callable[[str], None] = lambda part: None) -> dict[str, Array]:
    subject = bench.first
    progress("layers")
    found = _named(bench.spec, _outputs(bench.trace(subject)), bench.layers(subject)[0])
    progress("training step")
    found |= _named(bench.spec, gradients=bench.gradients(subject))
    progress("optimizers")
    found |= _named(bench.spec, updates={kind: bench.update(kind) for kind in bench.optimizers})
    progress("training")
    if bench.can_train:
        found |= _named(bench.spec, run=bench.course(subject).trajectory)
    return found


def _truth(bench: Bench) -> dict[str, Array]:
    return _named(
        bench.spec,
        _outputs(bench.judge_trace),
        bench.judge_layers,
        bench.judge_gradients,
        {kind: bench.judge_update(kind) for kind in bench.optimizers},
        bench.judge_course if bench.can_train else None,
    )


def _reference_noise(bench: Bench, truth: Mapping[str, Array]) -> dict[str, float]:
    # As the ladder measures it: how far float32 is from float64, several times.
    spec = bench.spec
    updates = {kind: bench.reference_updates(kind) for kind in bench.optimizers}
    samples = [
        _named(
            spec, {name: several[index] for name, several in bench.reference_outputs.items()},
            gradients=bench.reference_gradients[index],
            updates={kind: several[index] for kind, several in updates.items()},
        )
        for index in range(NOISE_SAMPLES)
    ]  # fmt: skip
    samples += [_named(spec, layers=found) for found in bench.reference_layers]
    samples += [_named(spec, run=run) for run in (bench.envelope if bench.can_train else ())]
    return _largest(truth, samples)


def _own_noise(bench: Bench, found: Mapping[str, Array]) -> dict[str, float]:
    # Without float64: how far float32 moves when all that the net is given moves by a rounding.
    mode = bench.candidate.modes.MODES[0]
    quiet = dataclasses.replace(bench.first, mode=mode, precision="float32")
    still = found if quiet == bench.first else _results(_moved(bench, quiet, 0))
    samples = [_results(_moved(bench, quiet, index)) for index in range(1, NOISE_SAMPLES)]
    return _largest(still, samples)


def _moved(bench: Bench, subject: Subject, index: int) -> Bench:
    moved = Bench(bench.spec, bench.state, bench.seed, [subject], bench.folder, None)

    def jitter(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: inputs.jitter(array, index, bench.seed) for name, array in arrays.items()}

    moved.recipe = bench.recipe
    moved.pixels = inputs.jitter(bench.pixels, index, bench.seed)
    moved.training_pixels = inputs.jitter(bench.training_pixels, index, bench.seed)
    moved.labels = bench.labels
    moved.layer_inputs, moved.given_gradients = (
        jitter(bench.layer_inputs), jitter(bench.given_gradients),
    )  # fmt: skip
    if bench.can_train:
        moved.start = moved_start(bench.start, index)
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
    # In the order of the ladder's rungs, and within one in that of the rung.
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


def _images_sha256(bench: Bench) -> str:
    if not bench.can_train:
        return ""
    source = bench.source
    return oracles.mark(*(np.asarray(source.image(index)) for index in range(len(source))))
