import itertools
import json
import os
import random

import pytest
from PIL import Image

from tinynet.data.image_folder import DatasetError
from tinynet.data.open_data import open_data
from tinynet.data.subset import draw_subset, format_subset
from tinynet.spec import load_spec
from tinynet.utils.strict_json import DocumentError

SPEC = load_spec("tinynet_e")
CLASSES = [f"n{number:08}" for number in range(12)]


def jpeg(path, brightness=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 8), (brightness,) * 3).save(path)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    root = tmp_path_factory.mktemp("imagenet")
    for place, name in enumerate(CLASSES):
        for image in range(9):
            jpeg(root / "train" / name / f"{name}_{image}.JPEG", 20 * place)
        for image in range(3):
            jpeg(root / "val" / name / f"ILSVRC2012_val_{place}{image}.JPEG", 20 * place)
    return root


@pytest.fixture
def make(run_script, imagenet, tmp_path):
    def run(*options, data=imagenet, output="subset.json"):
        path = tmp_path / output
        arguments = ["--data", data, "--output", path, "--classes", 4, "--per-class", 5, *options]
        return path, *run_script("make_subset", *arguments)

    return run


def test_a_subset_of_the_layout_and_numbers_asked_for(make, imagenet):
    path, status, out, err = make()
    assert (status, err) == (0, "")
    assert out == f"{path}: 4 classes, 20 images to train on, 12 to validate on\n"
    subset = json.loads(path.read_text())
    assert (subset["seed"], subset["per_class"]) == (0, 5)
    assert subset["root"] == str(imagenet)
    assert len(set(subset["classes"])) == 4
    assert set(subset["classes"]) < set(CLASSES)
    for key in ("classes", "train", "validation"):
        assert subset[key] == sorted(subset[key])
    for name in subset["classes"]:
        train = [image for image in subset["train"] if image.split("/")[1] == name]
        assert len(set(train)) == 5
        assert [image for image in subset["validation"] if image.split("/")[1] == name] == sorted(
            f"val/{name}/{image.name}" for image in (imagenet / "val" / name).iterdir()
        )
    assert all((imagenet / image).is_file() for image in subset["train"] + subset["validation"])


def test_json_reports_one_object(make):
    path, status, out, _ = make("--json", "--seed", 3)
    assert status == 0
    assert json.loads(out) == {
        "output": str(path),
        "seed": 3,
        "classes": 4,
        "train": 20,
        "validation": 12,
    }


def test_a_seed_is_a_draw(make):
    first, again, other = (make("--seed", seed)[0].read_bytes() for seed in (0, 0, 1))
    assert first == again
    draws = [json.loads(text) for text in (first, other)]
    assert draws[0]["classes"] != draws[1]["classes"]
    common = set(draws[0]["classes"]) & set(draws[1]["classes"])
    chosen = [{i for i in draw["train"] if i.split("/")[1] in common} for draw in draws]
    assert chosen[0] != chosen[1] or not common


def test_the_order_of_the_file_system_does_not_matter(imagenet, monkeypatch):
    expected = draw_subset(imagenet, 4, 5, 0)
    scandir = os.scandir

    class Shuffled:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = list(entries)
            random.Random(1).shuffle(self.entries)
            self.iterator = iter(self.entries)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def close(self):
            pass

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.iterator)

    listdir = os.listdir
    monkeypatch.setattr(os, "scandir", Shuffled)
    monkeypatch.setattr(os, "listdir", lambda path: listdir(path)[::-1])
    assert draw_subset(imagenet, 4, 5, 0) == expected


def test_images_of_a_class_do_not_depend_on_the_other_classes(imagenet):
    few, all_ = draw_subset(imagenet, 2, 5, 0), draw_subset(imagenet, 12, 5, 0)
    assert set(few.train) < set(all_.train)


def test_every_class_and_every_image_may_be_drawn(imagenet):
    draws = [draw_subset(imagenet, 4, 5, seed) for seed in range(40)]
    assert {name for draw in draws for name in draw.classes} == set(CLASSES)
    images = set(itertools.chain.from_iterable(draw.train for draw in draws))
    assert len(images) == 12 * 9
    # Neither classes nor images are favoured: 40 draws of 4 of 12 are 13 each.
    counts = [sum(name in draw.classes for draw in draws) for name in CLASSES]
    assert min(counts) >= 4
    assert max(counts) <= 24


# What can be wrong


def test_a_class_with_too_few_images_is_named(make, imagenet):
    path, status, out, err = make("--classes", 12, "--per-class", 10)
    assert (status, out) == (2, "")
    assert err == f"error: {imagenet}/train/{CLASSES[0]}: asked for 10 of its 9 images\n"
    assert not path.exists()


@pytest.mark.parametrize("classes", [0, 13, -1])
def test_too_few_classes(make, imagenet, classes):
    _, status, _, err = make("--classes", classes)
    assert status == 2
    assert err == f"error: {imagenet}/train: asked for {classes} of its 12 classes\n"


def test_no_images_asked_for(make, imagenet):
    _, status, _, err = make("--per-class", 0)
    assert status == 2
    assert "asked for 0 of its 9 images" in err


def test_a_class_without_validation_images(make, tmp_path):
    root = tmp_path / "net"
    jpeg(root / "train" / "a" / "1.JPEG")
    jpeg(root / "train" / "b" / "1.JPEG")
    jpeg(root / "val" / "a" / "1.JPEG")
    _, status, _, err = make("--classes", 2, "--per-class", 1, data=root)
    assert status == 2
    assert err == f"error: {root}/val: has no folder b, a class drawn from {root}/train\n"


def test_another_layout_and_no_folder(make, tmp_path):
    _, status, _, err = make(data=tmp_path)
    assert (status, err) == (
        2,
        f"error: {tmp_path}: has no folder train/ with a folder for each class\n",
    )
    _, status, _, err = make(data=tmp_path / "absent")
    assert status == 2
    assert "absent: no such folder, expected one with train/" in err


def test_a_bad_place_for_the_file_is_refused_first(make):
    _, status, _, err = make(output="absent/subset.json")
    assert status == 2
    assert "absent does not exist" in err
    _, status, _, err = make(output="subset.txt")
    assert status == 2
    assert "expected the name of a .json file" in err


# As data


def test_a_subset_is_data(make, imagenet):
    path = make()[0]
    subset = json.loads(path.read_text())
    data = open_data(str(path), SPEC)
    assert data.spec == SPEC.with_classes(4, tuple(subset["classes"]))
    assert data.train.classes == data.validation.classes == tuple(subset["classes"])
    for source, files in ((data.train, subset["train"]), (data.validation, subset["validation"])):
        assert len(source) == len(files)
        for index, file in enumerate(files):
            name = file.split("/")[1]
            assert source.name(index) == str(imagenet / file)
            assert source.label(index) == subset["classes"].index(name)
            assert source.identity(index) == f"{file} {source.label(index)}"
            brightness = source.image(index).getpixel((0, 0))[0]
            assert abs(brightness - 20 * CLASSES.index(name)) < 5
    # The net that was trained on it opens it again.
    assert open_data(str(path), data.spec).spec == data.spec


def test_the_root_may_be_relative(make, imagenet, monkeypatch):
    monkeypatch.chdir(imagenet.parent)
    path = make(data=imagenet.name)[0]
    monkeypatch.chdir("/")
    data = open_data(str(path), SPEC)
    assert data.train.image(0)
    assert json.loads(path.read_text())["root"] == str(imagenet)


def test_the_images_have_moved(make, tmp_path):
    path = make()[0]
    document = json.loads(path.read_text()) | {"root": str(tmp_path / "absent")}
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=r'subset\.json: the folder of its images, "root", is '):
        open_data(str(path), SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subset_version": 2}, "another version of subset files, expected version 1"),
        ({"more": 1}, "not a subset, expected a file that make_subset.py wrote"),
        ({"train": []}, "train is not a list of names, or is empty"),
        ({"train": "x"}, "train is not a list of names"),
        ({"classes": [1]}, "classes is not a list of names"),
        ({"root": 3}, "root is not text"),
        ({"train": ["train/other/1.JPEG"]}, 'the image "train/other/1.JPEG" is in no folder of'),
        ({"train": ["1.JPEG"]}, 'the image "1.JPEG" is in no folder of its classes'),
    ],
)
def test_files_that_are_no_subset(imagenet, tmp_path, change, message):
    path = tmp_path / "x.json"
    document = json.loads(format_subset(draw_subset(imagenet, 2, 2, 0)))
    path.write_text(json.dumps(document | change))
    with pytest.raises(DatasetError, match=rf"x\.json: {message}"):
        open_data(str(path), SPEC)


def test_files_that_are_no_json(tmp_path):
    with pytest.raises(DocumentError, match=r"absent\.json: cannot be read"):
        open_data(str(tmp_path / "absent.json"), SPEC)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DocumentError, match=r"x\.json: not valid JSON"):
        open_data(str(tmp_path / "x.json"), SPEC)
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(DatasetError, match=r"x\.json: not a subset"):
        open_data(str(tmp_path / "x.json"), SPEC)
