"""What decides the outcome of a search, and the folder that holds it.

The folder holds ``plan.json``, ``base.json`` (the base, for a frontier to name), ``models`` with a
small file for each finished training, and ``runs`` with the trainings in progress.
"""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinynet.net.complexity import count
from tinynet.recipe import Recipe, describe_difference, parse_recipe, recipe_document
from tinynet.spec import Spec, format_spec, parse_spec, spec_document
from tinynet.utils.atomic_files import write_text_atomically
from tinynet.utils.strict_json import DocumentError, object_schema, raised_as, read_checked

PLAN, BASE = "plan.json", "base.json"


class SearchError(DocumentError):
    """A search that is impossible, or not the one in its folder. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What decides the outcome of a search, but for how many models it has.

    Attributes:
        base: the spec to twist, with the classes of the data.
        seed: of the sampled twists; the first seed of training.
        costs: budgets, as shares of the base's macs.
        resolution: lowest and highest multiplier.
        depth: lowest and highest multiplier.
        width: lowest and highest multiplier.
        tolerance: how far from its budget a net may be, as a share of the budget.
        recipe: how each net is trained.
        framework: in which twin.
        precision: of convolutions and classifier.
        micro_batch: most images that pass through the net at once.
        images: number of training images.
        data_sha256: fingerprint of their names and labels.
    """

    base: Spec
    seed: int
    costs: tuple[float, ...]
    resolution: tuple[float, float]
    depth: tuple[float, float]
    width: tuple[float, float]
    tolerance: float
    recipe: Recipe
    framework: str
    precision: str
    micro_batch: int | None
    images: int
    data_sha256: str

    def budget(self, cost: float) -> int:
        """Returns the multiply-accumulates that a cost, a share of the base's, allows."""
        return round(cost * count(self.base).macs)


def open_search(folder: Path, plan: Plan) -> None:
    """Begins a search in a folder, or continues the one that is there.

    Raises:
        SearchError: the folder holds another search.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / PLAN
    if not place.exists():
        write_text_atomically(folder / BASE, format_spec(plan.base))
        # A file of its own, which gets its real name unless another process was quicker.
        mine = folder / f".{PLAN}.{os.getpid()}"
        write_text_atomically(mine, json.dumps(_plan_document(plan), indent=2) + "\n")
        try:
            with suppress(FileExistsError):
                os.link(mine, place)
        finally:
            mine.unlink()
    found = load_plan(folder)
    for field in dataclasses.fields(Plan):
        before, now = getattr(found, field.name), getattr(plan, field.name)
        if before == now:
            continue
        if field.name == "recipe":
            difference = describe_difference(before, now)
            if difference:
                raise SearchError(f"{place}: was made with another recipe: {difference}")
            continue
        before, now = (value.name if isinstance(value, Spec) else value for value in (before, now))
        raise SearchError(
            f"{place}: {field.name} is {before}, expected {now} as asked for; another folder "
            "starts another search"
        )


def load_plan(folder: Path) -> Plan:
    """Loads the plan of a search that was begun.

    Raises:
        SearchError: there is none, or it is malformed.
    """
    place = folder / PLAN
    with raised_as(SearchError):
        document = read_checked(place, _SCHEMA)
    document["base"] = parse_spec(json.dumps(document["base"]), f"{place}: base")
    document["recipe"] = parse_recipe(json.dumps(document["recipe"]), f"{place}: recipe")
    for name in ("costs", "resolution", "depth", "width"):
        document[name] = tuple(map(float, document[name]))
    return Plan(**document)


def _plan_document(plan: Plan) -> dict[str, Any]:
    document = {field.name: getattr(plan, field.name) for field in dataclasses.fields(Plan)}
    return document | {"base": spec_document(plan.base), "recipe": recipe_document(plan.recipe)}


# What a document of a search has: for each key its JSON type and how an error calls its value.
NUMBER, WHOLE, TEXT = {"type": "number"}, {"type": "integer", "minimum": 0}, {"type": "string"}
MULTIPLIER = NUMBER | {"description": "a multiplier"}


def search_schema(description: str, keys: dict[str, tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """Returns the JSON Schema of an object that has these keys, every one of them.

    Args:
        description: what an error calls the object.
        keys: for each its schema, and what an error calls its value.
    """
    properties = {key: schema | {"description": what} for key, (schema, what) in keys.items()}
    return object_schema(description, properties)


_RANGE = {"type": "array", "items": MULTIPLIER, "minItems": 2, "maxItems": 2}
_COSTS = {"type": "array", "items": NUMBER | {"description": "a cost"}}
_SCHEMA = search_schema(
    "the plan of a search",
    {
        "base": ({"type": "object"}, "a spec"),
        "seed": (WHOLE, "a seed"),
        "costs": (_COSTS, "a list of costs"),
        "resolution": (_RANGE, "the lowest and the highest resolution"),
        "depth": (_RANGE, "the lowest and the highest depth"),
        "width": (_RANGE, "the lowest and the highest width"),
        "tolerance": (NUMBER, "a share of the budget"),
        "recipe": ({"type": "object"}, "a recipe"),
        "framework": (TEXT, "a framework"),
        "precision": (TEXT, "a precision"),
        "micro_batch": ({"type": ["integer", "null"]}, "a number of images, or null"),
        "images": (WHOLE, "a number of images"),
        "data_sha256": (TEXT, "a fingerprint"),
    },
)
