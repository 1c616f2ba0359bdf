"""What tests of recipes share: a text to change, its schema, and the names of what is shipped."""

import functools
import json

import pytest

from tinynet.recipe import RECIPE_DIRECTORY, RecipeError, load_recipe, parse_recipe
from tinynet.utils.strict_json import DocumentError

import broken_documents
from broken_documents import one_line

IMAGENET = load_recipe("imagenet")
TEXT = (RECIPE_DIRECTORY / "imagenet_randaugment.json").read_text()
changed = functools.partial(broken_documents.changed, TEXT)
without = functools.partial(broken_documents.without, TEXT)
SCHEMA = json.loads((RECIPE_DIRECTORY / "recipe.schema.json").read_text())
ALL = [
    "digits",
    "imagenet",
    "imagenet100",
    "imagenet_drop_path",
    "imagenet_randaugment",
    "imagenet_resnet",
]


def refusal(text, changes=()):
    """Returns the one line by which a recipe is refused."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.json", changes)
    assert isinstance(caught.value, DocumentError)
    return one_line(caught.value)
