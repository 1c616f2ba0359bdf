"""Changes of a recipe from the command line: what they say, and what they refuse."""

import dataclasses
import json

import pytest

from tinynet.recipe import (
    RecipeError,
    describe_difference,
    load_recipe,
    recipe_document,
)

from recipe_documents import IMAGENET, TEXT, refusal


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


def test_a_difference_is_described_from_both_sides():
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


def test_null_takes_a_key_away():
    assert load_recipe("imagenet", ["ema=null"]) == dataclasses.replace(IMAGENET, ema=None)
    assert load_recipe("imagenet", ["source=null"]).source == ""
    with pytest.raises(RecipeError, match='the key "epochs" is missing'):
        load_recipe("imagenet", ["epochs=null"])
