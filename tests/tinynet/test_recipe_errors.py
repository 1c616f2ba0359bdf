"""What is wrong with a recipe is told in one line: file, place, found, expected."""

import dataclasses

import pytest

from tinynet.recipe import (
    RecipeError,
    load_recipe,
)

from broken_documents import one_line
from recipe_documents import ALL, IMAGENET, SCHEMA, TEXT, changed, refusal, without

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
