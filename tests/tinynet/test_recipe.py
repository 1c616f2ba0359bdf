import copy
import dataclasses
import json
import random

import pytest

from tinynet.recipe import (
    OPTIMIZER_SLOTS,
    RECIPE_DIRECTORY,
    Augmentation,
    Ema,
    Optimizer,
    RandAugment,
    Recipe,
    Schedule,
    describe_difference,
    format_recipe,
    list_recipes,
    load_recipe,
    parse_recipe,
    recipe_document,
    training_spec,
)
from tinynet.spec import list_specs, load_spec
from tinynet.utils.strict_json import check_document

from recipe_documents import ALL, SCHEMA, TEXT, refusal

# What the shipped recipes say

IMAGENET = Recipe(
    name="imagenet",
    epochs=450.0,
    batch_size=1024,
    optimizer=Optimizer("rmsprop", momentum=0.9, weight_decay=1e-5, decay=0.9, eps=1e-3),
    schedule=Schedule(
        "staircase", learning_rate=0.048, warmup_epochs=3.0, warmup_start=1e-6,
        decay_rate=0.97, decay_epochs=2.4,
    ),
    batch_norm_momentum=0.01,
    label_smoothing=0.1,
    dropout_rate=0.2,
    drop_path_rate=0.0,
    augmentation=Augmentation((0.08, 1.0), (3 / 4, 4 / 3), flip=0.5, color_jitter=0.4),
    ema=Ema(0.9999, warmup=False),
)  # fmt: skip


def test_the_paper_s_recipe():
    assert load_recipe("imagenet") == IMAGENET


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("imagenet100", {"ema": Ema(0.9999, warmup=True)}),
        ("imagenet_drop_path", {"drop_path_rate": 0.1}),
        (
            "imagenet_randaugment",
            {
                "augmentation": dataclasses.replace(
                    IMAGENET.augmentation,
                    color_jitter=0.0,
                    randaugment=RandAugment(2, magnitude=9.0, magnitude_std=0.5, probability=0.5),
                )
            },
        ),
        (
            "imagenet_resnet",
            {
                "epochs": 90.0,
                "optimizer": Optimizer("sgd", momentum=0.9, weight_decay=1e-4),
                "schedule": Schedule("staircase", 0.4, decay_rate=0.1, decay_epochs=30.0),
                "batch_norm_momentum": 0.1,
                "label_smoothing": 0.0,
                "dropout_rate": 0.0,
                "ema": None,
            },
        ),
    ],
)
def test_the_others_are_the_paper_s_but_for(name, change):
    assert load_recipe(name) == dataclasses.replace(IMAGENET, name=name, **change)


def test_the_recipe_for_the_digits():
    recipe = load_recipe("digits")
    assert (recipe.spec, recipe.data) == ("tinynet_digits", "digits")
    assert recipe.spec in list_specs()
    # A mirrored digit is another digit or none.
    assert recipe.augmentation.flip == 0.0
    assert recipe.ema.warmup
    assert recipe.schedule.kind == "cosine"


def test_the_shipped_recipes():
    assert list_recipes() == ALL
    for name in ALL:
        assert load_recipe(name).name == name
        assert load_recipe(name).source


@pytest.mark.parametrize("name", ALL)
def test_loaded_by_name_and_by_path(name):
    path = RECIPE_DIRECTORY / f"{name}.json"
    assert load_recipe(name) == load_recipe(path) == load_recipe(str(path))


@pytest.mark.parametrize("name", ALL)
def test_a_shipped_file_is_what_format_recipe_writes(name):
    assert format_recipe(load_recipe(name)) == (RECIPE_DIRECTORY / f"{name}.json").read_text()


# There and back


def random_recipe(seed):
    """A valid recipe; all choices a recipe has are made at random."""
    choose = random.Random(seed)
    kind = choose.choice(["rmsprop", "sgd"])
    own = {"decay": choose.random(), "eps": choose.uniform(1e-9, 1)} if kind == "rmsprop" else {}
    optimizer = Optimizer(kind, choose.random(), choose.uniform(0, 1), **own)
    kind = choose.choice(["staircase", "cosine"])
    own = {}
    if kind == "staircase":
        own = {"decay_rate": choose.uniform(1e-3, 1), "decay_epochs": choose.uniform(1e-3, 9)}
    epochs = choose.choice([0.25, 1.0, 350.0])
    schedule = Schedule(
        kind, choose.uniform(1e-5, 100), choose.uniform(0, epochs), choose.random(), **own
    )
    randaugment = None
    if choose.random() < 0.5:
        strength = choose.uniform(0, 10), choose.uniform(0, 10), choose.random()
        randaugment = RandAugment(choose.randint(1, 16), *strength)
    low, high = sorted(choose.uniform(1e-3, 1) for _ in range(2))
    augmentation = Augmentation(
        (low, high),
        (low * 50, high * 50),
        choose.random(),
        choose.random(),
        randaugment,
        choose.choice(["pillow", "fast"]),
    )
    return Recipe(
        name=f"random_{seed}",
        epochs=epochs,
        batch_size=choose.randint(1, 4096),
        optimizer=optimizer,
        schedule=schedule,
        batch_norm_momentum=choose.uniform(1e-3, 1),
        label_smoothing=choose.random(),
        dropout_rate=choose.random(),
        drop_path_rate=choose.random(),
        augmentation=augmentation,
        ema=choose.choice([None, Ema(choose.random(), choose.choice([False, True]))]),
        spec=choose.choice([None, "tinynet_a"]),
        data=choose.choice([None, "/data"]),
        source=choose.choice(["", 'a "paper"']),
    )


@pytest.mark.parametrize("seed", range(50))
def test_parsing_what_was_formatted_gives_the_same(seed):
    recipe = random_recipe(seed)
    again = parse_recipe(format_recipe(recipe))
    assert again == recipe
    assert again.source == recipe.source
    assert recipe_document(again) == recipe_document(recipe)
    check_document(recipe_document(recipe), SCHEMA, "document")


@pytest.mark.parametrize(
    "change",
    ["schedule.kind=cosine", "optimizer.kind=sgd", "optimizer.eps=0.5", "ema.warmup=true"],
)
def test_a_changed_recipe_equals_itself_read_back(change):
    # A checkpoint holds it, and a resumed run compares.
    for name in ("imagenet", "digits", "imagenet_resnet"):
        if name == "imagenet_resnet" and change.startswith("ema"):
            continue
        recipe = load_recipe(name, [change])
        assert parse_recipe(format_recipe(recipe)) == recipe


def test_settings_of_another_kind_of_optimizer_or_schedule_do_not_count():
    changes = ["optimizer.kind=sgd", "schedule.kind=cosine"]
    plain = load_recipe("imagenet", changes)
    others = ["optimizer.decay=0.5", "optimizer.eps=0.1", "schedule.decay_epochs=1"]
    assert load_recipe("imagenet", changes + others) == plain
    assert describe_difference(plain, load_recipe("imagenet", changes + others)) == ""
    assert plain.slots == ("momentum",)


def test_whole_numbers_and_floats_are_one():
    text = TEXT.replace("450.0", "450").replace("1024", "1024.0").replace("1.0]", "1]")
    recipe = parse_recipe(text.replace('"layers": 2', '"layers": 2.0'))
    assert text != TEXT
    assert recipe == load_recipe("imagenet_randaugment")
    assert format_recipe(recipe) == TEXT
    assert isinstance(recipe.batch_size, int)
    assert isinstance(recipe.augmentation.randaugment.layers, int)


def test_what_may_be_left_out():
    document = json.loads(TEXT)
    for key in ("ema", "source", "$schema"):
        del document[key]
    for key in ("decay", "eps"):
        del document["optimizer"][key]
    for key in ("warmup_epochs", "warmup_start", "decay_rate", "decay_epochs"):
        del document["schedule"][key]
    del document["augmentation"]["randaugment"]
    recipe = parse_recipe(json.dumps(document))
    assert (recipe.ema, recipe.source, recipe.augmentation.randaugment) == (None, "", None)
    assert recipe.optimizer == IMAGENET.optimizer
    assert recipe.schedule == Schedule("staircase", 0.048, 0.0, 0.0, 1.0, 1.0)


def test_the_citation_does_not_count():
    assert dataclasses.replace(IMAGENET, source="elsewhere") == IMAGENET


def test_the_spec_while_it_is_trained_has_the_recipe_s_batch_norm_momentum():
    spec = load_spec("tinynet_e")
    trained = training_spec(spec, IMAGENET)
    assert trained.batch_norm == dataclasses.replace(spec.batch_norm, momentum=0.01)
    assert dataclasses.replace(trained, batch_norm=spec.batch_norm) == spec
    assert spec.batch_norm.momentum == 0.1


def test_slots():
    assert OPTIMIZER_SLOTS == {"rmsprop": ("mean_square", "momentum"), "sgd": ("momentum",)}
    assert IMAGENET.slots == ("mean_square", "momentum")
    assert load_recipe("imagenet_resnet").slots == ("momentum",)
    kinds = SCHEMA["properties"]["optimizer"]["properties"]["kind"]["enum"]
    assert list(OPTIMIZER_SLOTS) == kinds


# The schema: its descriptions are the error messages


def places(schema, path="recipe"):
    """Every schema inside a schema, with its path."""
    yield path, schema
    for key, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}.{key}")
    if "items" in schema:
        yield from places(schema["items"], f"{path}[]")


PLACES = dict(places(SCHEMA))


@pytest.mark.parametrize("path", PLACES)
def test_everything_is_described_and_nothing_else_allowed(path):
    schema = PLACES[path]
    assert schema["description"], path
    assert "\n" not in schema["description"]
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= set(schema["properties"])
    elif schema.get("type") in ("number", "integer"):
        assert {"minimum", "exclusiveMinimum"} & schema.keys(), path
        assert {"maximum", "exclusiveMaximum"} & schema.keys(), path


def test_every_field_has_a_key_and_every_key_a_field():
    for kind, path in [
        (Recipe, "recipe"),
        (Optimizer, "recipe.optimizer"),
        (Schedule, "recipe.schedule"),
        (Ema, "recipe.ema"),
        (Augmentation, "recipe.augmentation"),
        (RandAugment, "recipe.augmentation.randaugment"),
    ]:
        keys = set(PLACES[path]["properties"]) - {"$schema", "recipe_version"}
        assert {field.name for field in dataclasses.fields(kind)} == keys, path


def test_the_ends_of_every_range():
    # The number after "at most" is allowed, the number after "below" is not.
    document = json.loads(TEXT)
    for path, schema in PLACES.items():
        if schema.get("type") not in ("number", "integer") or path.endswith("[]"):
            continue
        steps = path.split(".")[1:]
        for bound, allowed in [
            ("minimum", True),
            ("maximum", True),
            ("exclusiveMinimum", False),
            ("exclusiveMaximum", False),
        ]:
            if bound in schema:
                other = copy.deepcopy(document)
                parent = other
                for step in steps[:-1]:
                    parent = parent[step]
                parent[steps[-1]] = schema[bound]
                other["schedule"]["warmup_epochs"] = 0
                if steps[-1] == "warmup_epochs":
                    other["epochs"] = 100_000
                    parent[steps[-1]] = schema[bound]
                if allowed:
                    parse_recipe(json.dumps(other))
                else:
                    found = f"{'.'.join(steps)} is {schema[bound]}, expected"
                    assert found in refusal(json.dumps(other))
