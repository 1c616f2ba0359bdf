"""The training recipe: JSON in, frozen dataclasses out. Both frameworks execute it identically."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from tinynet.spec import Spec
from tinynet.utils.dataclass_json import from_document, to_document
from tinynet.utils.strict_json import (
    DocumentError,
    check_document,
    format_document,
    format_path,
    list_documents,
    load_schema,
    parse_document,
    raised_as,
    read_document,
)

RECIPE_DIRECTORY = Path(__file__).parent / "recipes"

# What each optimizer keeps for every trained tensor.
OPTIMIZER_SLOTS: dict[str, tuple[str, ...]] = {
    "rmsprop": ("mean_square", "momentum"),
    "sgd": ("momentum",),
}


# Settings without a meaning for a kind of optimizer or schedule. A document may have them, so that
# changing the kind is one change; a recipe forgets them.
_IDLE: dict[str, dict[str, tuple[str, ...]]] = {
    "optimizer": {"sgd": ("decay", "eps")},
    "schedule": {"cosine": ("decay_rate", "decay_epochs")},
}


class RecipeError(DocumentError):
    """A recipe that is malformed, inconsistent or unknown. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Optimizer:
    """How a gradient becomes a step; ``weight_decay`` is for the weights of convolutions and of
    the classifier only.

    ``decay`` (the weight of the old mean square) and ``eps`` are for RMSProp, with TensorFlow's
    defaults in the EfficientNet reference code.
    """

    kind: Literal["rmsprop", "sgd"]
    momentum: float
    weight_decay: float
    decay: float = 0.9
    eps: float = 1e-3


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate over time; :func:`tinynet.training.schedule.learning_rate` computes it.

    A linear warm-up from ``warmup_start`` to ``learning_rate``; after it a "staircase", times
    ``decay_rate`` after every ``decay_epochs``, or a "cosine" down to zero.
    """

    kind: Literal["staircase", "cosine"]
    learning_rate: float
    warmup_epochs: float = 0.0
    warmup_start: float = 0.0
    decay_rate: float = 1.0
    decay_epochs: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Ema:
    """The exponential moving average of weights and batch-norm statistics.

    With ``warmup`` update n uses min(decay, (1 + n) / (10 + n)), so that an average over a short
    run is not one of its start.
    """

    decay: float
    warmup: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class RandAugment:
    """``layers`` operations an image, each with ``probability``, of a strength around
    ``magnitude`` (0 to 10) with standard deviation ``magnitude_std``.
    """

    layers: int
    magnitude: float
    magnitude_std: float
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class Augmentation:
    """How a training image varies from epoch to epoch.

    ``scale`` is the range of the crop's share of the area, ``ratio`` that of its width / height,
    ``flip`` the probability of a horizontal flip, ``color_jitter`` the largest relative change of
    brightness, contrast and saturation. RandAugment takes the place of colour jitter. ``engine``
    computes all that: Pillow, or :mod:`tinynet.data.fast_engine`, whose pixels are almost the same.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    color_jitter: float
    randaugment: RandAugment | None = None
    engine: Literal["pillow", "fast"] = "pillow"


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """How a net is trained, fully determined but for spec, data and seed.

    ``batch_size`` counts the images of one optimizer step over all devices.
    ``batch_norm_momentum`` is the weight of the new batch and overrides the spec's.
    ``drop_path_rate`` is what the blocks' rates grow towards, see
    :func:`tinynet.net.drop_path.drop_path_rates`. ``spec`` and ``data`` are what is trained
    where nothing is named.
    """

    name: str
    epochs: float
    batch_size: int
    optimizer: Optimizer
    schedule: Schedule
    batch_norm_momentum: float
    label_smoothing: float
    dropout_rate: float
    drop_path_rate: float
    augmentation: Augmentation
    ema: Ema | None = None
    spec: str | None = None
    data: str | None = None
    source: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            low, high = getattr(self.augmentation, name)
            if low > high:
                raise RecipeError(
                    f"augmentation.{name} is [{low:g}, {high:g}], expected the smaller one first"
                )
        if self.schedule.warmup_epochs > self.epochs:
            raise RecipeError(
                f"schedule.warmup_epochs is {self.schedule.warmup_epochs:g}, expected at most "
                f"the {self.epochs:g} epochs there are"
            )

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of what the optimizer keeps for every trained tensor."""
        return OPTIMIZER_SLOTS[self.optimizer.kind]


def training_spec(spec: Spec, recipe: Recipe) -> Spec:
    """Returns the spec of the net while it is trained: with the recipe's batch-norm momentum.

    Raises:
        RecipeError: batch norm is folded, so that there is none to train with.
    """
    if spec.batch_norm is None:
        raise RecipeError(
            f"{spec.name}: batch norm is folded into its convolutions, for inference only; train "
            "the net it was made from"
        )
    settings = dataclasses.replace(spec.batch_norm, momentum=recipe.batch_norm_momentum)
    return dataclasses.replace(spec, batch_norm=settings)


def list_recipes() -> list[str]:
    """Returns the names of the recipes that are shipped, in alphabetical order."""
    return list_documents(RECIPE_DIRECTORY)


def load_recipe(name_or_path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Recipe:
    """Loads a shipped recipe by its name, or any by the path of its JSON file.

    Args:
        name_or_path: which one.
        changes: values to replace before the schema is checked, such as
            ``"schedule.learning_rate=0.1"``; the value is JSON, and null takes the key away.

    Raises:
        RecipeError: no such recipe, an invalid file or an invalid change.
    """
    with raised_as(RecipeError):
        text = read_document(name_or_path, RECIPE_DIRECTORY, "recipe")
    return parse_recipe(text, os.fspath(name_or_path), changes)


def parse_recipe(text: str, source: str = "recipe", changes: Sequence[str] = ()) -> Recipe:
    """Parses a recipe's JSON text.

    Args:
        text: the JSON document; ``tinynet/recipes/recipe.schema.json`` is its schema.
        source: what to call it in errors.
        changes: as in :func:`load_recipe`.

    Raises:
        RecipeError: naming the source, the JSON path, what was found and what was expected.
    """
    with raised_as(RecipeError):
        document = parse_document(text, source)
        if changes:
            check_document(document, {"type": "object", "description": "a JSON object"}, source)
        for change in changes:
            _apply(document, change)
        check_document(document, load_schema(RECIPE_DIRECTORY / "recipe.schema.json"), source)
    # Every key of the document is a field of Recipe, but for these two.
    fields = {k: v for k, v in document.items() if k not in ("$schema", "recipe_version")}
    try:
        return from_document(Recipe, fields | _used_settings(fields))
    except RecipeError as error:
        raise RecipeError(f"{source}: {error}") from None


def recipe_document(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe as a JSON document: the inverse of :func:`parse_recipe`."""
    fields = to_document(recipe)
    fields |= _used_settings(fields)
    if not recipe.source:
        del fields["source"]
    # Recipes from before there was a choice stay as they are written.
    if recipe.augmentation.engine == "pillow":
        del fields["augmentation"]["engine"]
    return {"$schema": "recipe.schema.json", "recipe_version": 1} | fields


def format_recipe(recipe: Recipe) -> str:
    """Returns the recipe as JSON text for people: one line per key."""
    return format_document(recipe_document(recipe))


def describe_difference(one: Recipe, other: Recipe) -> str:
    """Returns how two recipes differ, for an error: ``epochs (450, 90), ...``; else empty."""
    ours, theirs = (_flat(recipe_document(recipe)) for recipe in (one, other))
    keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    return ", ".join(
        f"{key} ({json.dumps(ours.get(key))}, {json.dumps(theirs.get(key))})"
        for key in keys
        if key != "source"
    )


def _apply(document: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    steps = path.split(".")
    if not equals or not all(steps):
        raise DocumentError(f'change "{change}": expected KEY=VALUE, such as batch_size=256')
    try:
        value = parse_document(text, f"change of {path}")
    except DocumentError:
        value = text  # a bare word is a string
    target = document
    for depth, step in enumerate(steps[:-1]):
        target = target.setdefault(step, {})
        if not isinstance(target, dict):
            place = format_path(steps[: depth + 1])
            raise DocumentError(f'change "{change}": {place} holds no other keys')
        target = cast(dict[str, Any], target)
    if value is None:
        target.pop(steps[-1], None)
    else:
        target[steps[-1]] = value


def _used_settings(document: dict[str, Any]) -> dict[str, Any]:
    return {
        part: {
            k: v for k, v in document[part].items() if k not in idle.get(document[part]["kind"], ())
        }
        for part, idle in _IDLE.items()
    }


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= _flat(cast(dict[str, Any], value), f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
