"""The half of a context that trains: the stretch of training, and how it stops and resumes."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from tinynet.backend import REFERENCE, load_backend
from tinynet.checkpoints.files import load_training, save_training
from tinynet.checkpoints.training_state import TrainingState, initial_training_state
from tinynet.data.sources import fingerprint
from tinynet.net.manifest import State
from tinynet.recipe import Recipe, load_recipe
from tinynet.spec import Spec

from parity import inputs
from parity.candidates import Candidate
from parity.distances import Array
from parity.trajectory import Course, Trajectory, envelope, follow, train

# The stretch of training: so many steps on so many images, in batches that do not divide them.
STEPS, IMAGES, BATCH = 8, 10, 4
# Where runs part, each step multiplies what rounding did: all of three were close to the reference
# by luck in one of 130 seeds, and an honest run was 13 times as far from it.
ENVELOPE_SAMPLES = 6
# These make a recipe visible in a few steps: the warm-up ends and two stairs come within them, and
# the average and the weight decay move things by more than roundings.
_CHANGES = (
    f"batch_size={BATCH}",
    f"epochs={STEPS * BATCH / IMAGES}",
    "schedule.learning_rate=0.0005",
    "schedule.warmup_epochs=0.8",
    "schedule.decay_epochs=0.8",
    "optimizer.weight_decay=0.001",
)
_EMA_CHANGE = "ema.decay=0.9"
NATIVE_SUFFIX = {"torch": ".pth", "mindspore": ".ckpt"}


P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound="TrainingContext")


def stretch_recipe(name_or_path: str = "imagenet_drop_path") -> Recipe:
    """Loads a recipe, by default the paper's with all that it has, for a few small steps.

    Raises:
        RecipeError: no such recipe, or one that cannot be shortened.
    """
    averages = load_recipe(name_or_path).ema is not None
    return load_recipe(name_or_path, (*_CHANGES, *[_EMA_CHANGE] * averages))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a context is given; it makes what is None from its seed.

    Pixels are (N, C, H, W) in float32, for evaluation and for a training step, the labels of the
    latter (N,); ``layer_inputs`` are layer -> its input when it runs alone, ``gradients`` key ->
    what the optimizers are given; ``recipe`` and ``start`` are those of the stretch of training.
    """

    pixels: Array | None = None
    training_pixels: Array | None = None
    labels: Array | None = None
    layer_inputs: Mapping[str, Array] | None = None
    gradients: Mapping[str, Array] | None = None
    recipe: Recipe | None = None
    start: TrainingState | None = None


def memoised(method: Callable[Concatenate[C, P], T]) -> Callable[Concatenate[C, P], T]:
    """Keeps what a method returns until :meth:`TrainingContext.release` drops it."""

    @wraps(method)
    def wrapped(self: C, *args: P.args, **settings: P.kwargs) -> T:
        key = (method.__name__, *args, *settings.items())
        if key not in self.memory:
            self.memory[key] = method(self, *args, **settings)
        return self.memory[key]

    return wrapped


class TrainingContext:
    """See :class:`parity.context.Context`."""

    def __init__(self, spec: Spec, state: State | None, seed: int, folder: Path, given: Inputs):
        self.spec = spec
        self.seed = seed
        self.folder = folder
        self.given = given
        self.can_train = spec.input_size[0] in (1, 3) and spec.batch_norm is not None
        self.memory: dict[Any, Any] = {}
        self._state = state

    def release(self, *pieces: str) -> None:
        """Drops pieces by the names of their methods; each is made again if it is asked for.

        Activations of every layer, or all weights many times over, are a gigabyte and more for a
        large net, so the check that is the last to need them names them.
        """
        for key in [key for key in self.memory if key[0] in pieces]:
            del self.memory[key]
        for piece in pieces:
            vars(self).pop(piece, None)

    @cached_property
    def state(self) -> State:
        """Canonical state: the one that was given, or one made from the seed."""
        if self._state is not None:
            return self._state
        return inputs.sample_state(self.spec, self.seed, load_backend(REFERENCE, tune=True))

    @cached_property
    def source(self) -> inputs.TrainingImages:
        """The images of the stretch of training."""
        return inputs.TrainingImages(self.spec, IMAGES, self.seed)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the stretch of training."""
        return self.given.recipe or stretch_recipe()

    @cached_property
    def start(self) -> TrainingState:
        """Where the stretch of training begins."""
        recipe, images = self.recipe, (len(self.source), fingerprint(self.source))
        settings = self.spec, recipe, self.seed, *images, self.state
        return self.given.start or initial_training_state(*settings)

    @cached_property
    def reference_course(self) -> Trajectory:
        """The stretch of training in float64."""
        return follow(REFERENCE, self.start, self.source, STEPS, precision="float64")

    @cached_property
    def envelope(self) -> list[Trajectory]:
        """The same in float32, from several starts: what rounding may do."""
        return envelope(self.start, self.source, STEPS, ENVELOPE_SAMPLES)

    @memoised
    def course(self, candidate: Candidate) -> Course:
        """Runs the stretch of training by the twin's own loop."""
        return self._train(candidate, self.start)

    @memoised
    def half(self, candidate: Candidate) -> Course:
        """Runs its first half only."""
        return self._train(candidate, self.start, STEPS // 2, is_part=True)

    def resumed(self, before: Candidate, after: Candidate) -> Course:
        """Runs its second half, from a checkpoint of another candidate's first half.

        Its trajectory has the losses of both halves.
        """
        first = self.half(before)
        start = load_training(first.checkpoint)
        if before.framework != after.framework:
            # As a user moves it: in the file format of where it comes from.
            path = (
                Path(tempfile.mkdtemp(dir=self.folder)) / f"half{NATIVE_SUFFIX[before.framework]}"
            )
            save_training(path, start)
            start = load_training(path)
        second = self._train(after, start, is_part=True)
        losses = np.concatenate([first.trajectory.losses, second.trajectory.losses])
        return dataclasses.replace(second, trajectory=Trajectory(losses, second.trajectory.state))

    def _train(
        self,
        candidate: Candidate,
        start: TrainingState,
        stop_after: int | None = None,
        is_part: bool = False,
    ) -> Course:
        # The evaluation of a part of the stretch does not matter, so it is on one image.
        validation = inputs.TrainingImages(self.spec, 1, self.seed) if is_part else self.source
        compiled, folder = candidate.mode == "graph", Path(tempfile.mkdtemp(dir=self.folder))
        settings = stop_after, compiled, candidate.device, candidate.precision, validation
        return train(candidate.framework, start, self.source, folder, *settings)
