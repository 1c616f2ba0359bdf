"""A search of twists: what is sampled, and what each training left in the folder of the search.

The folder holds ``plan.json``, ``base.json`` (the base, for a frontier to name), ``models`` with a
small file for each training that is done, and ``runs`` with what is being trained.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from tinynet.formula.tiny import Solution, solve_width
from tinynet.net.complexity import count
from tinynet.recipe import Recipe, describe_difference, parse_recipe, recipe_document
from tinynet.spec import Spec, Twist, format_spec, parse_spec, spec_document
from tinynet.utils.atomic_files import write_atomically
from tinynet.utils.random_numbers import uniform
from tinynet.utils.strict_json import (
    DocumentError,
    check_document,
    object_schema,
    parse_document,
    read_text,
)

PLAN, BASE = "plan.json", "base.json"
# So many draws without a net of the cost mean that the ranges do not reach it.
_DRAWS = 200


class SearchError(DocumentError):
    """A search that cannot be, or another one than its folder holds. The message is one line."""


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
        """Multiply-accumulates of a share of the base's."""
        return round(cost * count(self.base).macs)


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """One of the trainings of a search: a sampled net, and the seed that it is trained with."""

    index: int
    seed: int
    cost: float
    solution: Solution

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.index:05d}-{self.seed}"


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a training reached. The fields are those of its file.

    ``cost`` is that of the budget, ``accuracy`` is top-1 in percent, with the averaged weights
    where the recipe averages, and None where the training diverged, in which case ``epochs`` says
    when; ``seconds`` are those of the session that ended it.
    """

    index: int
    seed: int
    name: str
    spec_sha256: str
    twist: Twist
    cost: float
    macs: int
    params: int
    framework: str
    recipe: str
    epochs: float
    accuracy: float | None
    seconds: float


def sample(plan: Plan, index: int) -> Training:
    """The model of that number, the same on every machine, with the first seed of training.

    Budgets take turns. Resolution and depth are drawn, evenly in their logarithms, and width is
    solved for the budget. What misses the budget by more than the tolerance, or has a width out of
    its range, is drawn again.

    Args:
        plan: the search.
        index: from 0.

    Raises:
        SearchError: 200 draws did not meet the budget.
    """
    cost = plan.costs[index % len(plan.costs)]
    budget = plan.budget(cost)
    name = f"{plan.base.name}-{plan.seed}-{index}"
    for draw in range(_DRAWS):
        numbers = uniform((2,), "search", plan.seed, index, draw).tolist()
        resolution, depth = (
            round(low * (high / low) ** number, 4)
            for (low, high), number in zip((plan.resolution, plan.depth), numbers, strict=True)
        )
        try:
            solution = solve_width(plan.base, resolution, depth, budget, name)
        except ValueError:
            continue
        lowest, highest = plan.width
        met = solution.relative_error <= plan.tolerance
        if met and lowest <= solution.twist.width <= highest:
            return Training(index, plan.seed, cost, solution)
    raise SearchError(
        f"{plan.base.name}: of {_DRAWS} twists none has {budget:,} macs ({cost:g} of the base's) "
        f"within {plan.tolerance:.1%}, with resolution {_span(plan.resolution)}, depth "
        f"{_span(plan.depth)} and width {_span(plan.width)}; expected a cost and ranges that fit "
        "each other"
    )


def trainings(plan: Plan, models: int, seeds: int) -> list[Training]:
    """The trainings of a search: every model with the first seed, then with the next.

    Args:
        plan: the search.
        models: how many nets.
        seeds: how often each is trained.

    Raises:
        SearchError: a budget that the ranges do not reach.
    """
    sampled = [sample(plan, index) for index in range(models)]
    return [
        dataclasses.replace(model, seed=plan.seed + number)
        for number in range(seeds)
        for model in sampled
    ]


def open_search(folder: Path, plan: Plan) -> None:
    """Begins a search in a folder, or goes on with the one that is there.

    Raises:
        SearchError: the folder holds another search.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / PLAN
    if not place.exists():
        _write(folder / BASE, format_spec(plan.base))
        # Under a name of its own, then under its real one if nobody was quicker.
        mine = folder / f".{PLAN}.{os.getpid()}"
        _write(mine, json.dumps(_plan_document(plan), indent=2) + "\n")
        try:
            os.link(mine, place)
        except FileExistsError:
            pass
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
    """The plan of a search that was begun.

    Raises:
        SearchError: there is none, or it is malformed.
    """
    place = folder / PLAN
    document = _read(place, _PLAN_SCHEMA)
    document["base"] = parse_spec(json.dumps(document["base"]), f"{place}: base")
    document["recipe"] = parse_recipe(json.dumps(document["recipe"]), f"{place}: recipe")
    for name in ("costs", "resolution", "depth", "width"):
        document[name] = tuple(map(float, document[name]))
    return Plan(**document)


def result_path(folder: Path, training: Training) -> Path:
    """Where the result of a training is, once it is done."""
    return folder / "models" / f"{training.name}.json"


def save_result(folder: Path, result: Result, training: Training) -> None:
    """Writes the result of a training."""
    path = result_path(folder, training)
    path.parent.mkdir(exist_ok=True)
    _write(path, json.dumps(dataclasses.asdict(result), indent=2) + "\n")


def load_results(folder: Path) -> list[Result]:
    """All results of a search, by model and seed.

    Raises:
        SearchError: a file that is malformed.
    """
    found: list[Result] = []
    for path in sorted((folder / "models").glob("[!.]*.json")):
        document = _read(path, _RESULT_SCHEMA)
        document["twist"] = Twist(**document["twist"])
        found.append(Result(**document))
    return sorted(found, key=lambda result: (result.index, result.seed))


def _span(range_: tuple[float, float]) -> str:
    return f"{range_[0]:g} to {range_[1]:g}"


def _plan_document(plan: Plan) -> dict[str, Any]:
    document = {field.name: getattr(plan, field.name) for field in dataclasses.fields(Plan)}
    return document | {"base": spec_document(plan.base), "recipe": recipe_document(plan.recipe)}


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda to: to.write_text(text, encoding="utf-8"))


def _read(path: Path, schema: dict[str, Any]) -> Any:
    try:
        document = parse_document(read_text(path), str(path))
        check_document(document, schema, str(path))
    except DocumentError as error:
        raise SearchError(str(error)) from None
    return document


def _number(description: str) -> dict[str, Any]:
    return {"type": "number", "description": description}


def _whole(description: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "description": description}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _pair(what: str) -> dict[str, Any]:
    return {
        "type": "array", "items": _number("a multiplier"), "minItems": 2, "maxItems": 2,
        "description": f"the lowest and the highest {what}",
    }  # fmt: skip


_PLAN_SCHEMA = object_schema(
    "the plan of a search",
    {
        "base": {"type": "object", "description": "a spec"},
        "seed": _whole("a seed"),
        "costs": {"type": "array", "items": _number("a cost"), "description": "a list of costs"},
        "resolution": _pair("resolution"),
        "depth": _pair("depth"),
        "width": _pair("width"),
        "tolerance": _number("a share of the budget"),
        "recipe": {"type": "object", "description": "a recipe"},
        "framework": _text("a framework"),
        "precision": _text("a precision"),
        "micro_batch": {"type": ["integer", "null"], "description": "a number of images, or null"},
        "images": _whole("a number of images"),
        "data_sha256": _text("a fingerprint"),
    },
)
_RESULT_SCHEMA = object_schema(
    "the result of a training",
    {
        "index": _whole("a model's number"),
        "seed": _whole("a seed"),
        "name": _text("a name"),
        "spec_sha256": _text("a hash"),
        "twist": object_schema(
            "an object with resolution, depth and width",
            {name: _number("a multiplier") for name in ("resolution", "depth", "width")},
        ),
        "cost": _number("a share of the base's macs"),
        "macs": _whole("a number of macs"),
        "params": _whole("a number of parameters"),
        "framework": _text("a framework"),
        "recipe": _text("a recipe's name"),
        "epochs": _number("a number of epochs"),
        "accuracy": {
            "type": ["number", "null"],
            "description": "top-1 in percent, or null if it diverged",
        },
        "seconds": _number("a number of seconds"),
    },
)
