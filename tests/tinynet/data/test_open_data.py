"""Data opened by what a user writes: a name, a folder, an archive, a function."""

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tinynet.data.image_folder import DatasetError
from tinynet.data.labels import wordnet_ids
from tinynet.data.open_data import open_data, open_validation
from tinynet.data.subset import draw_subset, format_subset
from tinynet.spec import Preprocessing, load_spec

from image_trees import tree

COLOR = dataclasses.replace(load_spec("tinynet_e").with_classes(3), input_size=(3, 8, 8))
GREY = dataclasses.replace(COLOR, input_size=(1, 8, 8), preprocessing=Preprocessing((0.0,), (1.0,)))
DIGITS = load_spec("tinynet_digits")


def imagenet(root, *classes, splits=("train", "val")):
    for split in splits:
        tree(root / split, *(f"{name}/{k}.png" for name in classes for k in range(2)))
    return root


def contents(source):
    return [(source.identity(index), source.label(index)) for index in range(len(source))]


def test_digits_by_name():
    data = open_data("digits", DIGITS)
    assert (len(data.train), len(data.validation), data.spec) == (1437, 360, DIGITS)


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_a_folder_by_path(tmp_path, validation):
    imagenet(tmp_path, "x", "y", "z", splits=("train", validation))
    data = open_data(str(tmp_path), COLOR)
    expected = [
        (f"{name}/{k}.png {label}", label) for label, name in enumerate("xyz") for k in range(2)
    ]
    assert contents(data.train) == contents(data.validation) == expected
    assert data.spec == COLOR
    assert data.train.name(0) == str(tmp_path / "train" / "x" / "0.png")
    assert data.validation.name(0) == str(tmp_path / validation / "x" / "0.png")


def test_validation_has_the_labels_of_training(tmp_path):
    # Numbered by itself, the validation folder would call z the class 1.
    imagenet(tmp_path, "x", "y", "z")
    shutil.rmtree(tmp_path / "val" / "y")
    data = open_data(str(tmp_path), COLOR)
    assert [label for _, label in contents(data.validation)] == [0, 0, 2, 2]
    assert data.validation.classes == data.train.classes == ("x", "y", "z")


def test_validation_classes_that_training_has_not(tmp_path):
    imagenet(tmp_path, "x", "y", "z")
    (tmp_path / "val" / "z").rename(tmp_path / "val" / "w")
    with pytest.raises(DatasetError) as caught:
        open_data(str(tmp_path), COLOR)
    assert str(caught.value) == (
        f'{tmp_path}/val: has a class folder "w" that {tmp_path}/train has not'
    )


def test_classes_of_imagenet_keep_its_labels(tmp_path):
    ids = wordnet_ids()
    imagenet(tmp_path, ids[3], ids[967])
    data = open_data(str(tmp_path), load_spec("tinynet_e"))
    assert [label for _, label in contents(data.train)] == [3, 3, 967, 967]
    assert data.spec == load_spec("tinynet_e")


def test_classes_that_do_not_fit_and_the_way_out(tmp_path):
    imagenet(tmp_path, "x", "y", "z", "a")
    with pytest.raises(DatasetError, match=r"train: found 4 .*expected 3.*; --classes-from-data "):
        open_data(str(tmp_path), COLOR)
    data = open_data(str(tmp_path), COLOR, classes_from_data=True)
    assert (data.spec.num_classes, data.spec.labels) == (4, ("a", "x", "y", "z"))
    assert data.spec == COLOR.with_classes(4, ("a", "x", "y", "z"))
    assert [label for _, label in contents(data.validation)] == [0, 0, 1, 1, 2, 2, 3, 3]
    # The net that was trained knows its classes.
    assert open_data(str(tmp_path), data.spec).spec == data.spec
    with pytest.raises(DatasetError, match=r"digits: has 10 classes, .*has 3; --classes-from-data"):
        open_data("digits", GREY)
    digits = open_data("digits", GREY, classes_from_data=True)
    assert (digits.spec.num_classes, digits.spec.labels) == (10, tuple("0123456789"))


def test_a_folder_without_the_splits(tmp_path):
    tree(tmp_path, "x/1.png")
    with pytest.raises(DatasetError, match="has no folder train/"):
        open_data(str(tmp_path), COLOR)
    imagenet(tmp_path, "x", splits=("train",))
    with pytest.raises(DatasetError, match="has no folder val/ or validation/"):
        open_data(str(tmp_path), COLOR)


@pytest.mark.parametrize("text", ["absent", "absent/folder", "", "digit", "a:b:c", "C:"])
def test_no_such_data(text):
    with pytest.raises(DatasetError, match=r'no such data, expected "digits", a folder with'):
        open_data(text, COLOR)


MODULE = """
class Data:
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, index):
        import numpy
        return numpy.full((4, 5), index, numpy.uint8), index % 3

class Named(Data):
    classes = ["a", "b", "c"]

class Other(Data):
    classes = ["a", "c", "b"]

def pair(): return Data(4), Data(2)
def named(): return Named(4), Named(2)
def other(): return Named(4), Other(2)
def single(): return Data(4)
number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "some_images.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "some_images"
    sys.modules.pop("some_images", None)


def test_a_function_of_the_folder_one_works_in(module):
    data = open_data(f"{module}:pair", GREY)
    assert (len(data.train), len(data.validation), data.spec) == (4, 2, GREY)
    assert data.train.label(2) == 2
    assert data.train.name(2) == "some_images:pair train[2]"
    assert data.validation.name(1) == "some_images:pair validation[1]"


def test_classes_of_a_function(module):
    assert open_data(f"{module}:named", GREY).spec == GREY
    wide = GREY.with_classes(7)
    with pytest.raises(DatasetError, match="has 3 classes, tinynet_e has 7; --classes-from-data"):
        open_data(f"{module}:named", wide)
    data = open_data(f"{module}:named", wide, classes_from_data=True)
    assert data.spec == wide.with_classes(3, ("a", "b", "c"))
    with pytest.raises(DatasetError, match='has no attribute "classes"'):
        open_data(f"{module}:pair", wide, classes_from_data=True)
    with pytest.raises(DatasetError, match="classes of training and validation differ"):
        open_data(f"{module}:other", GREY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("some_images:absent", "cannot be imported: .*absent"),
        ("absent_images:pair", "cannot be imported: No module named 'absent_images'"),
        ("some_images:single", "returned no pair but Data, expected two data sets"),
        ("some_images:number", "is a int, expected a function"),
    ],
)
def test_functions_that_give_no_data(module, text, message):
    with pytest.raises(DatasetError, match=f"^{text}: {message}"):
        open_data(text, GREY)


# What evaluate.py takes


def test_what_is_evaluated_is_the_validation_part(tmp_path):
    spec = load_spec("tinynet_digits")
    assert open_validation("digits", spec).name(0) == open_data("digits", spec).validation.name(0)
    for split, count in (("train", 2), ("val", 1)):
        for label in spec.labels:
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("L", (8, 8)).save(folder / f"{split}{index}.png")
    whole = open_validation(str(tmp_path), spec)
    assert {Path(whole.name(index)).name for index in range(len(whole))} == {"val0.png"}
    alone = open_validation(str(tmp_path / "train"), spec)
    assert len(alone) == 20


def test_what_is_evaluated_has_the_classes_of_the_net(tmp_path):
    spec = load_spec("tinynet_digits")
    for split in ("train", "val"):
        for label in spec.labels:
            (tmp_path / split / label).mkdir(parents=True)
            Image.new("L", (8, 8)).save(tmp_path / split / label / "0.png")
    subset = tmp_path / "half.json"
    subset.write_text(format_subset(draw_subset(tmp_path, 5, 1, 0)))
    with pytest.raises(DatasetError, match=r"half\.json: its classes are not those of tinynet_"):
        open_validation(str(subset), spec)
    halved = open_data(str(subset), spec).spec
    assert len(open_validation(str(subset), halved)) == 5
