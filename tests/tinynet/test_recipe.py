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
    RecipeError,
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
from tinynet.utils.strict_json import DocumentError, check_document

TEXT = (RECIPE_DIRECTORY / "imagenet_randaugment.json").read_text()
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
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.json", changes)
    assert isinstance(caught.value, DocumentError)
    return one_line(caught.value)


def one_line(error):
    assert "\n" not in str(error)
    return str(error)


def changed(*path, to):
    document = json.loads(TEXT)
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = to
    return json.dumps(document)


def without(*path):
    document = json.loads(TEXT)
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    del parent[path[-1]]
    return json.dumps(document)


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


# Bad input: file, place, found, expected, in one line

RATE = "a number from 0, below 1"
PROBABILITY = "a probability from 0 to 1"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["recipe_version"], 2, "recipe_version is 2, expected 1, the only version there is"),
        (["name"], "a b", "name is \"a b\", expected a name of letters, digits, '_', '.' and '-'"),
        (["name"], "a\n", "name is \"a\\n\", expected a name of letters, digits, '_', '.' and '-'"),
        (["epochs"], 0, "epochs is 0, expected a number of epochs above 0, at most 100000"),
        (["epochs"], "450", 'epochs is "450", expected a number of epochs above 0, at most 100000'),
        (["epochs"], True, "epochs is true, expected a number of epochs above 0, at most 100000"),
        (["batch_size"], 0, "batch_size is 0, expected the images of one optimizer step over all "
         "devices, a whole number from 1 to 1048576"),
        (["batch_size"], 1.5, "batch_size is 1.5, expected the images of one optimizer step over "
         "all devices, a whole number from 1 to 1048576"),
        (["optimizer"], "sgd", 'optimizer is "sgd", expected an object with kind, momentum and '
         "weight_decay"),
        (["optimizer", "kind"], "adam",
         'optimizer.kind is "adam", expected "rmsprop" (TensorFlow\'s form) or "sgd"'),
        (["optimizer", "momentum"], 1, f"optimizer.momentum is 1, expected {RATE}"),
        (["optimizer", "weight_decay"], -1e-5,
         "optimizer.weight_decay is -1e-05, expected a number from 0 to 1"),
        (["optimizer", "decay"], 1,
         "optimizer.decay is 1, expected the weight of the old mean square, from 0, below 1"),
        (["optimizer", "eps"], 0, "optimizer.eps is 0, expected a number above 0, at most 1"),
        (["schedule", "kind"], "step",
         'schedule.kind is "step", expected "staircase" or "cosine"'),
        (["schedule", "learning_rate"], 0,
         "schedule.learning_rate is 0, expected the highest rate, above 0, at most 100"),
        (["schedule", "warmup_epochs"], -1,
         "schedule.warmup_epochs is -1, expected a number of epochs from 0"),
        (["schedule", "warmup_epochs"], 450.5,
         "schedule.warmup_epochs is 450.5, expected at most the 450 epochs there are"),
        (["schedule", "warmup_start"], 101, "schedule.warmup_start is 101, expected the rate of "
         "the first step of the warm-up, a number from 0"),
        (["schedule", "decay_rate"], 1.01,
         "schedule.decay_rate is 1.01, expected the factor of each stair, above 0, at most 1"),
        (["schedule", "decay_epochs"], 0, "schedule.decay_epochs is 0, expected the length of a "
         "stair in epochs, a number above 0"),
        (["batch_norm_momentum"], 0,
         "batch_norm_momentum is 0, expected the weight of the new batch, above 0, at most 1"),
        (["label_smoothing"], 1, f"label_smoothing is 1, expected {RATE}"),
        (["dropout_rate"], 1, f"dropout_rate is 1, expected {RATE}"),
        (["dropout_rate"], None, f"dropout_rate is null, expected {RATE}"),
        (["drop_path_rate"], -0.1,
         "drop_path_rate is -0.1, expected the rate that the blocks' rates grow towards, from 0, "
         "below 1"),
        (["ema"], None,
         "ema is null, expected an object with decay (leave the key out for no averaging)"),
        (["ema", "decay"], 1,
         "ema.decay is 1, expected the weight of the old average, from 0, below 1"),
        (["ema", "warmup"], 1, "ema.warmup is 1, expected true to let the decay grow with the "
         "number of updates, else false"),
        (["augmentation", "scale"], [0.1], "augmentation.scale is [0.1], expected two shares of "
         "the area, smallest and largest"),
        (["augmentation", "scale"], [1, 0.08],
         "augmentation.scale is [1, 0.08], expected the smaller one first"),
        (["augmentation", "scale", 1], 1.5,
         "augmentation.scale[1] is 1.5, expected a share of the area above 0, at most 1"),
        (["augmentation", "ratio"], [2, 1],
         "augmentation.ratio is [2, 1], expected the smaller one first"),
        (["augmentation", "flip"], 2, f"augmentation.flip is 2, expected {PROBABILITY}"),
        (["augmentation", "color_jitter"], -0.4, "augmentation.color_jitter is -0.4, expected the "
         "largest change of brightness, contrast and saturation, from 0 to 1"),
        (["augmentation", "randaugment", "layers"], 0,
         "augmentation.randaugment.layers is 0, expected a whole number from 1 to 16"),
        (["augmentation", "randaugment", "magnitude"], 11,
         "augmentation.randaugment.magnitude is 11, expected a number from 0 to 10"),
        (["momentum"], 0.9, 'unknown key "momentum", expected one of $schema, recipe_version, '
         "name, source, spec, data, epochs, batch_size, optimizer, schedule, ema, "
         "batch_norm_momentum, label_smoothing, dropout_rate, drop_path_rate, augmentation"),
        (["optimizer", "alpha"], 0.9, 'unknown key "alpha" in optimizer, expected one of kind, '
         "momentum, weight_decay, decay, eps"),
        (["schedule", "gamma"], 0.9, 'unknown key "gamma" in schedule, expected one of kind, '
         "learning_rate, warmup_epochs, warmup_start, decay_rate, decay_epochs"),
        (["augmentation", "cutout"], 1, 'unknown key "cutout" in augmentation, expected one of '
         "scale, ratio, flip, color_jitter, engine, randaugment"),
        (["augmentation", "engine"], "opencv",
         'augmentation.engine is "opencv", expected "pillow" or "fast"'),
    ],
)  # fmt: skip
def test_a_wrong_value(path, value, message):
    assert refusal(changed(*path, to=value)) == f"r.json: {message}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (["recipe_version"],
         'the key "recipe_version" is missing, expected 1, the only version there is'),
        (["optimizer"], 'the key "optimizer" is missing, expected an object with kind, momentum '
         "and weight_decay"),
        (["schedule", "learning_rate"], 'the key "learning_rate" is missing in schedule, expected '
         "the highest rate, above 0, at most 100"),
        (["augmentation", "randaugment", "layers"], 'the key "layers" is missing in '
         "augmentation.randaugment, expected a whole number from 1 to 16"),
    ],
)  # fmt: skip
def test_a_missing_key(path, message):
    assert refusal(without(*path)) == f"r.json: {message}"


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_every_required_key_is_missed(key):
    assert refusal(without(key)).startswith(f'r.json: the key "{key}" is missing, expected ')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON at line 1, column 1: Expecting value"),
        ("[1]", "the document is [1], expected a JSON object"),
        (TEXT.replace("1e-05", "NaN"), "NaN is not a JSON number"),
        (TEXT.replace("1e-05", "1e400"), "1e400 is too large a number"),
        (
            TEXT.replace('"epochs": 450.0', '"epochs": 450.0, "epochs": 1'),
            'the key "epochs" stands twice in one object',
        ),
        (
            TEXT.replace('"momentum": 0.9', '"momentum": 0.9, "momentum": 0.9'),
            'the key "momentum" stands twice in one object',
        ),
    ],
)
def test_not_a_document(text, message):
    assert refusal(text) == f"r.json: {message}"


def test_files_that_cannot_be_read(tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(changed("epochs", to=0))
    inconsistent = tmp_path / "inconsistent.json"
    inconsistent.write_text(changed("augmentation", "scale", to=[1, 0.5]))
    for path, message in [
        (tmp_path / "none.json", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (wrong, "epochs is 0, expected a number of epochs above 0, at most 100000"),
        (inconsistent, "augmentation.scale is [1, 0.5], expected the smaller one first"),
    ]:
        for name in (path, str(path)):
            with pytest.raises(RecipeError) as caught:
                load_recipe(name)
            assert one_line(caught.value) == f"{path}: {message}"


def test_an_unknown_name():
    with pytest.raises(RecipeError) as caught:
        load_recipe("cifar")
    assert one_line(caught.value) == (
        "cifar: no such recipe, expected the path of a .json file or one of " + ", ".join(ALL)
    )


def test_a_recipe_made_in_code_is_held_to_the_same():
    with pytest.raises(RecipeError) as caught:
        dataclasses.replace(IMAGENET, epochs=2.0)
    assert one_line(caught.value) == (
        "schedule.warmup_epochs is 3, expected at most the 2 epochs there are"
    )


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


# Changes from the command line


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("batch_size=256", "batch_size (1024, 256)"),
        ("epochs=0.5", "epochs (450.0, 0.5), schedule.warmup_epochs (3.0, 0.0)"),
        ("schedule.learning_rate=1e-2", "schedule.learning_rate (0.048, 0.01)"),
        ("optimizer.kind=sgd", 'optimizer.kind ("rmsprop", "sgd"), optimizer.decay (0.9, null), '
         "optimizer.eps (0.001, null)"),
        ("ema.warmup=true", "ema.warmup (false, true)"),
        ("augmentation.scale=[0.5, 1]", "augmentation.scale ([0.08, 1.0], [0.5, 1.0])"),
        ('augmentation.randaugment={"layers": 1, "magnitude": 5, "magnitude_std": 0, '
         '"probability": 1}', "augmentation.randaugment.layers (null, 1), "
         "augmentation.randaugment.magnitude (null, 5.0), "
         "augmentation.randaugment.magnitude_std (null, 0.0), "
         "augmentation.randaugment.probability (null, 1.0)"),
        ("augmentation.engine=fast", 'augmentation.engine (null, "fast")'),
        ("augmentation.engine=pillow", ""),
        ("data=digits", 'data (null, "digits")'),
        ("data=/a=b.tar", 'data (null, "/a=b.tar")'),
        ('name="x"', 'name ("imagenet", "x")'),
        ("source=elsewhere", ""),
    ],
)  # fmt: skip
def test_a_change(change, difference):
    changes = [change] + ["schedule.warmup_epochs=0"] * change.startswith("epochs")
    assert describe_difference(IMAGENET, load_recipe("imagenet", changes)) == difference


def test_a_difference_is_told_from_both_sides():
    other = dataclasses.replace(IMAGENET, ema=None, dropout_rate=0.0)
    assert describe_difference(IMAGENET, IMAGENET) == ""
    assert describe_difference(IMAGENET, other) == (
        "dropout_rate (0.2, 0.0), ema.decay (0.9999, null), ema.warmup (false, null)"
    )
    assert describe_difference(other, IMAGENET) == (
        "dropout_rate (0.0, 0.2), ema.decay (null, 0.9999), ema.warmup (null, false)"
    )


def test_every_value_of_a_recipe_can_be_changed():
    # From the whole of one recipe to the whole of another, by changes alone.
    there = load_recipe("imagenet_randaugment")

    def leaves(document, path=""):
        for key, value in document.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{path}{key}.")
            else:
                yield f"{path}{key}={json.dumps(value)}"

    changes = list(leaves(recipe_document(there)))
    assert describe_difference(load_recipe("imagenet_resnet", changes), there) == ""


def test_the_last_of_two_changes_counts():
    assert load_recipe("imagenet", ["epochs=5", "epochs=4"]).epochs == 4


def test_changes_leave_the_shipped_recipe_alone():
    load_recipe("imagenet", ["schedule.learning_rate=1", "ema.decay=0"])
    assert load_recipe("imagenet") == IMAGENET


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epochs", 'change "epochs": expected KEY=VALUE, such as batch_size=256'),
        ("=3", 'change "=3": expected KEY=VALUE, such as batch_size=256'),
        ("", 'change "": expected KEY=VALUE, such as batch_size=256'),
        ("ema.=3", 'change "ema.=3": expected KEY=VALUE, such as batch_size=256'),
        ("epochs.x=3", 'change "epochs.x=3": epochs holds no other keys'),
        ("schedule.kind.x=3", 'change "schedule.kind.x=3": schedule.kind holds no other keys'),
        ("epoch=3", 'r.json: unknown key "epoch", expected one of '),
        ("scheduler.kind=cosine", 'r.json: unknown key "scheduler", expected one of '),
        ("epochs=NaN", 'r.json: epochs is "NaN", expected a number of epochs above 0'),
        ("epochs=-1", "r.json: epochs is -1, expected a number of epochs above 0"),
        ("epochs=1", "r.json: schedule.warmup_epochs is 3, expected at most the 1 epochs"),
        ("batch_size=", 'r.json: batch_size is "", expected the images of one optimizer step'),
        ("optimizer.kind=adam", 'r.json: optimizer.kind is "adam", expected "rmsprop"'),
    ],
)
def test_a_wrong_change(change, message):
    assert refusal(TEXT, [change]).startswith(message)


def test_a_change_of_what_is_no_object():
    assert refusal("[1]", ["epochs=1"]) == "r.json: the document is [1], expected a JSON object"


def test_the_ends_of_every_range():
    # What stands behind "at most" is allowed, what stands behind "below" is not.
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


def test_null_takes_a_key_away():
    assert load_recipe("imagenet", ["ema=null"]) == dataclasses.replace(IMAGENET, ema=None)
    assert load_recipe("imagenet", ["source=null"]).source == ""
    with pytest.raises(RecipeError, match='the key "epochs" is missing'):
        load_recipe("imagenet", ["epochs=null"])
