"""The state of a training run: all it takes to resume, in either framework, as if never stopped.

Its file is the canonical checkpoint of weights with more in it: the averaged weights, what the
optimizer keeps, the recipe and the progress. The weights have the same keys as in a checkpoint of
weights.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinynet.checkpoints.metadata import (
    CONTENT_SHA256,
    TRAINING_SHA256,
    content_sha256,
    describe,
    training_sha256,
)
from tinynet.checkpoints.safetensors_file import StoredTensor, read_safetensors, save_safetensors
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import TRAINED_ROLES, State, check_state, check_tensors, manifest
from tinynet.recipe import Recipe, parse_recipe, recipe_document
from tinynet.spec import Spec, parse_spec
from tinynet.utils.strict_json import (
    DocumentError,
    check_document,
    object_schema,
    parse_document,
)

# The prefix of the canonical key of an averaged weight, and of "slot.key" of the optimizer.
EMA_PREFIX = "ema."
OPTIMIZER_PREFIX = "optimizer."

_VERSION = 1


class TrainingStateError(ValueError):
    """A file that is not the training checkpoint it should be. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Best:
    """The best value of a metric so far, and the number of steps done when it was reached."""

    metric: str
    value: float
    step: int


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """What is trained, how, and how far it got.

    ``images`` is the number of training images, ``data_sha256`` a fingerprint of their names and
    labels. ``step`` counts optimizer steps done, ``ema_updates`` those of the averaged weights.
    ``loss_scale`` and ``good_steps`` are float16's, 1 and 0 without it.
    """

    spec: Spec
    recipe: Recipe
    seed: int
    images: int
    data_sha256: str
    step: int = 0
    ema_updates: int = 0
    best: Best | None = None
    loss_scale: float = 1.0
    good_steps: int = 0

    @property
    def position(self) -> int:
        """Place in the stream of samples: how many were seen."""
        return self.step * self.recipe.batch_size

    @property
    def epoch(self) -> float:
        """How often the whole data set was seen."""
        return self.position / self.images


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """All that a run needs to resume.

    ``weights`` and ``ema`` have every canonical key, batch-norm statistics included; ``ema`` is
    None where the recipe averages nothing. ``slots`` maps each of the recipe's slots to arrays by
    trained key. All arrays are float32.
    """

    weights: State
    ema: State | None
    slots: dict[str, State]
    progress: Progress

    @property
    def tensors(self) -> State:
        """Returns all arrays under the names they have in the canonical file."""
        named = dict(self.weights)
        named |= {EMA_PREFIX + key: array for key, array in (self.ema or {}).items()}
        for slot, arrays in self.slots.items():
            named |= {f"{OPTIMIZER_PREFIX}{slot}.{key}": array for key, array in arrays.items()}
        return named


class Packed(NamedTuple):
    """A training state as its file holds it: named tensors in the order of the file, strings."""

    tensors: State
    metadata: dict[str, str]


def initial_training_state(
    spec: Spec,
    recipe: Recipe,
    seed: int,
    images: int,
    data_sha256: str,
    weights: Mapping[str, NDArray[Any]] | None = None,
) -> TrainingState:
    """Returns the state before the first step.

    Args:
        spec: the net.
        recipe: how it is to be trained.
        seed: of the initial weights and of everything random in the run; any integer.
        images: number of training images.
        data_sha256: fingerprint of the training set.
        weights: start from these; by default :func:`tinynet.net.initialise.initial_state`.

    Raises:
        StateError: the weights do not fit the spec.

    Source: mean squares start at one, as in TensorFlow's RMSProp; momentum at zero.
    """
    state = initial_state(spec, seed) if weights is None else check_state(weights, spec, "weights")
    shapes = {key: entry.shape for key, entry in manifest(spec).items()}
    slots: dict[str, State] = {}
    for slot in recipe.slots:
        start = np.ones if slot == "mean_square" else np.zeros
        slots[slot] = {key: start(shapes[key], np.float32) for key in _trained(spec)}
    return TrainingState(
        weights=state,
        ema={key: array.copy() for key, array in state.items()} if recipe.ema else None,
        slots=slots,
        progress=Progress(spec, recipe, seed, images, data_sha256),
    )


def load_training_state(path: str | os.PathLike[str]) -> TrainingState:
    """Reads a training checkpoint in the canonical ``.safetensors``.

    Raises:
        ValueError: what :func:`unpack_training` raises, or SafetensorsFileError.
        OSError: the file cannot be opened.
    """
    tensors, metadata = read_safetensors(path)
    return unpack_training(tensors, metadata, str(path))


def save_training_state(path: str | os.PathLike[str], state: TrainingState) -> None:
    """Writes a training checkpoint as a canonical ``.safetensors``; equal states give equal bytes.

    Raises:
        ValueError: what :func:`pack_training` raises.
        DocumentError: the file cannot be placed there.
    """
    save_safetensors(path, *pack_training(state, {"format": "pt"}))


def pack_training(state: TrainingState, others: Mapping[str, str] | None = None) -> Packed:
    """Names the tensors of a state as its canonical file does, and describes it.

    Args:
        state: what to pack.
        others: more metadata to go with it, such as what the file's format asks for.

    Raises:
        StateError: tensors that are missing, unexpected, misshaped or not finite.
        TrainingStateError: a progress that cannot be.
    """
    progress = state.progress
    tensors = _check(state.tensors, progress.spec, progress.recipe, "training state")
    training = json.dumps(_document(progress))
    # A number that cannot be read back must not get into a file.
    _parse_progress(training, progress.spec, progress.recipe, "training state")
    metadata = describe(progress.spec) | dict(others or {})
    metadata |= {"recipe": json.dumps(recipe_document(progress.recipe)), "training": training}
    metadata[TRAINING_SHA256] = training_sha256(tensors, metadata)
    weights = {key: tensors[key] for key in manifest(progress.spec)}
    metadata[CONTENT_SHA256] = content_sha256(weights, metadata)
    return Packed(tensors, metadata)


def is_training(metadata: Mapping[str, str]) -> bool:
    """Returns whether a checkpoint's metadata are those of a training checkpoint."""
    return TRAINING_SHA256 in metadata


def unpack_training(
    tensors: Mapping[str, Any], metadata: Mapping[str, str], source: str
) -> TrainingState:
    """Checks and undoes what :func:`pack_training` did.

    Args:
        tensors: all that the file holds, named as in the canonical file, in any order.
        metadata: all of the file's.
        source: what to call the file in errors.

    Raises:
        TrainingStateError: only weights, damaged, an impossible progress, or other things than
            tensors.
        StateError: tensors that are missing, unexpected, misshaped or not finite.
        DocumentError: an invalid spec or recipe.
    """
    if not is_training(metadata) and "training" not in metadata:
        raise TrainingStateError(
            f"{source}: holds only weights, expected a training checkpoint; "
            "a new run starts from weights with --weights"
        )
    for key in ("spec", "recipe", "training", TRAINING_SHA256, CONTENT_SHA256):
        if key not in metadata:
            raise TrainingStateError(f"{source}: is damaged, it has no {key} in its metadata")
    for name, value in tensors.items():
        if not isinstance(value, np.ndarray | StoredTensor):
            raise TrainingStateError(
                f"{source}: {name} is a {type(value).__name__}, expected a tensor"
            )
    spec = parse_spec(metadata["spec"], f"{source}: its spec")
    recipe = parse_recipe(metadata["recipe"], f"{source}: its recipe")
    checked = _check(tensors, spec, recipe, source)
    weights = {key: checked[key] for key in manifest(spec)}
    recorded = metadata[TRAINING_SHA256], metadata[CONTENT_SHA256]
    if recorded != (training_sha256(checked, metadata), content_sha256(weights, metadata)):
        raise TrainingStateError(f"{source}: is damaged, its content does not match its checksums")
    ema = {key: checked[EMA_PREFIX + key] for key in weights} if recipe.ema else None
    slots = {
        slot: {key: checked[f"{OPTIMIZER_PREFIX}{slot}.{key}"] for key in _trained(spec)}
        for slot in recipe.slots
    }
    return TrainingState(
        weights, ema, slots, _parse_progress(metadata["training"], spec, recipe, source)
    )


def progress_document(progress: Progress) -> dict[str, Any]:
    """Returns the progress as a JSON document, with the recipe's name, for a report."""
    return {"recipe": progress.recipe.name, **_document(progress)}


def _trained(spec: Spec) -> list[str]:
    return [key for key, entry in manifest(spec).items() if entry.role in TRAINED_ROLES]


def _check(tensors: Mapping[str, NDArray[Any]], spec: Spec, recipe: Recipe, source: str) -> State:
    shapes = {key: entry.shape for key, entry in manifest(spec).items()}
    expected = dict(shapes)
    if recipe.ema:
        expected |= {EMA_PREFIX + key: shape for key, shape in shapes.items()}
    for slot in recipe.slots:
        expected |= {f"{OPTIMIZER_PREFIX}{slot}.{key}": shapes[key] for key in _trained(spec)}
    place = f"{source}: does not fit {spec.name} trained by recipe {recipe.name}"
    return check_tensors(tensors, expected, place)


_WHOLE = {"type": "integer", "description": "a whole number"}
_COUNT = {"type": "integer", "minimum": 0, "description": "a whole number from 0"}
_NUMBER = {"type": "number", "description": "a number"}
_BEST: dict[str, Any] = {
    "metric": {"type": "string", "description": "a name"},
    "value": _NUMBER,
    "step": _COUNT,
}
# Property -> schema, in the order in which they are written.
_PROPERTIES: dict[str, Any] = {
    "version": {"const": _VERSION, "description": f"{_VERSION}, the only one there is"},
    "seed": _WHOLE,
    "images": {"type": "integer", "minimum": 1, "description": "a whole number from 1"},
    "data_sha256": {"type": "string", "description": "a hash"},
    "step": _COUNT,
    "epoch": _NUMBER,
    "position": _WHOLE,
    "ema_updates": _COUNT,
    "best": object_schema("null, or metric, value and step", _BEST) | {"type": ["object", "null"]},
    "loss_scale": {"type": "number", "exclusiveMinimum": 0, "description": "a number above 0"},
    "good_steps": _COUNT,
}
_SCHEMA = object_schema("a JSON object", _PROPERTIES)


def _document(progress: Progress) -> dict[str, Any]:
    # Python writes a float with as many digits as it takes to read the same one back.
    values = {name: getattr(progress, name, None) for name in _PROPERTIES}
    best = None if progress.best is None else dataclasses.asdict(progress.best)
    return values | {"version": _VERSION, "best": best}


def _parse_progress(text: str, spec: Spec, recipe: Recipe, source: str) -> Progress:
    try:
        document = parse_document(text, f"{source}: its progress")
        check_document(document, _SCHEMA, f"{source}: its progress")
    except DocumentError as error:
        raise TrainingStateError(str(error)) from None
    best = document.pop("best")
    derived = {name: document.pop(name) for name in ("version", "epoch", "position")}
    progress = Progress(spec, recipe, best=best and Best(**best), **document)
    for name in ("epoch", "position"):
        if derived[name] != getattr(progress, name):
            raise TrainingStateError(
                f"{source}: its progress: {name} is {derived[name]}, expected "
                f"{getattr(progress, name)} at step {progress.step}"
            )
    return progress
