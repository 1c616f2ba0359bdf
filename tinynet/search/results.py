"""What each training of a search reached: one small file for each, in the search's folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tinynet.search.plan import MULTIPLIER, NUMBER, TEXT, WHOLE, SearchError, search_schema
from tinynet.search.sampling import Training
from tinynet.spec import Twist
from tinynet.utils.atomic_files import write_text_atomically
from tinynet.utils.dataclass_json import from_document
from tinynet.utils.strict_json import object_schema, raised_as, read_checked


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a training reached; the fields are those of its file.

    ``cost`` is the budget as a share of the base's macs. ``accuracy`` is top-1 in percent, of the
    averaged weights if the recipe averages; it is None if the training diverged, and ``epochs``
    then says when. ``seconds`` counts the session that ended the training.
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


def result_path(folder: Path, training: Training) -> Path:
    """Returns where the result of a training is, once it is done."""
    return folder / "models" / f"{training.name}.json"


def save_result(folder: Path, result: Result, training: Training) -> None:
    """Writes the result of a training into the folder of its search."""
    path = result_path(folder, training)
    path.parent.mkdir(exist_ok=True)
    write_text_atomically(path, json.dumps(dataclasses.asdict(result), indent=2) + "\n")


def load_results(folder: Path) -> list[Result]:
    """Loads all results of a search, by model and seed.

    Raises:
        SearchError: a file that is malformed.
    """
    found: list[Result] = []
    for path in sorted((folder / "models").glob("[!.]*.json")):
        with raised_as(SearchError):
            found.append(from_document(Result, read_checked(path, _SCHEMA)))
    return sorted(found, key=lambda result: (result.index, result.seed))


_TWIST = object_schema("", dict.fromkeys(("resolution", "depth", "width"), MULTIPLIER))
_SCHEMA = search_schema(
    "the result of a training",
    {
        "index": (WHOLE, "a model's number"),
        "seed": (WHOLE, "a seed"),
        "name": (TEXT, "a name"),
        "spec_sha256": (TEXT, "a hash"),
        "twist": (_TWIST, "an object with resolution, depth and width"),
        "cost": (NUMBER, "a share of the base's macs"),
        "macs": (WHOLE, "a number of macs"),
        "params": (WHOLE, "a number of parameters"),
        "framework": (TEXT, "a framework"),
        "recipe": (TEXT, "a recipe's name"),
        "epochs": (NUMBER, "a number of epochs"),
        "accuracy": ({"type": ["number", "null"]}, "top-1 in percent, or null if it diverged"),
        "seconds": (NUMBER, "a number of seconds"),
    },
)
