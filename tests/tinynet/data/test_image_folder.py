import dataclasses
import os

import numpy as np
import pytest

from tinynet.data.evaluation_batches import Prepared
from tinynet.data.image_folder import DatasetError, find_images, list_images
from tinynet.data.labels import wordnet_ids
from tinynet.spec import Preprocessing, load_spec

from image_trees import save, tree

SPEC = dataclasses.replace(
    load_spec("tinynet_e").with_classes(3),
    input_size=(1, 8, 8),
    preprocessing=Preprocessing((0.0,), (1.0,)),
)


def found(dataset):
    return [(os.path.relpath(path, dataset.root), label) for path, label in dataset.samples]


# Finding and labelling


def test_folders_are_classes_in_sorted_order(tmp_path):
    tree(tmp_path, "b/2.png", "b/1.png", "a/x.png", "c/deep/er/2.png", "c/deep/1.png", "c/z.png")
    dataset = find_images(tmp_path, SPEC)
    assert len(dataset) == 6
    assert found(dataset) == [
        ("a/x.png", 0),
        ("b/1.png", 1),
        ("b/2.png", 1),
        ("c/deep/1.png", 2),
        ("c/deep/er/2.png", 2),
        ("c/z.png", 2),
    ]


def test_indexing_decodes(tmp_path):
    tree(tmp_path, "a/0.png", "b/1.png", "c/2.png")
    dataset = Prepared(find_images(str(tmp_path), SPEC), SPEC)
    image, label = dataset[2]
    assert (image.shape, image.dtype, label) == ((1, 8, 8), np.float32, 2)
    np.testing.assert_array_equal(image, np.float32(2) / np.float32(255))
    with pytest.raises(IndexError):
        dataset[3]


def test_other_files_and_hidden_ones_are_passed_over(tmp_path):
    tree(tmp_path, "a/1.JPEG", "b/1.webp", "c/1.tif", "c/._1.png", "c/.thumbs/1.png", ".git/1.png")
    for name in ("a/notes.txt", "README.md", ".DS_Store"):
        (tmp_path / name).write_text("not an image")
    expected = [("a/1.JPEG", 0), ("b/1.webp", 1), ("c/1.tif", 2)]
    assert found(find_images(tmp_path, SPEC)) == expected


def test_linked_classes_and_images_count(tmp_path):
    tree(tmp_path / "store", "x/1.png", "y/1.png", "z/1.png")
    root = tmp_path / "subset"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    (root / "a" / "linked.png").symlink_to(tmp_path / "store" / "x" / "1.png")
    (root / "b" / "linked").symlink_to(tmp_path / "store" / "y")
    (root / "c").symlink_to(tmp_path / "store" / "z")
    expected = [("a/linked.png", 0), ("b/linked/1.png", 1), ("c/1.png", 2)]
    assert found(find_images(root, SPEC)) == expected


def test_a_subset_of_imagenet_has_imagenets_labels(tmp_path):
    ids = wordnet_ids()
    tree(tmp_path, f"{ids[967]}/coffee.png", f"{ids[3]}/fish.png")
    dataset = find_images(tmp_path, load_spec("tinynet_e"))
    assert [label for _, label in dataset.samples] == [3, 967]


def test_folders_named_after_the_specs_own_labels(tmp_path):
    tree(tmp_path, "cat/1.png", "dog/1.png")
    spec = dataclasses.replace(SPEC, labels=("dog", "cat", "bird"))
    assert found(find_images(tmp_path, spec)) == [("cat/1.png", 1), ("dog/1.png", 0)]


def test_foreign_names_count_in_sorted_order(tmp_path):
    tree(tmp_path, "k9/1.png", "k1/1.png", "k5/1.png")
    spec = dataclasses.replace(SPEC, labels=("dog", "cat", "bird"))
    assert found(find_images(tmp_path, spec)) == [("k1/1.png", 0), ("k5/1.png", 1), ("k9/1.png", 2)]


# Bad input: one line that names the folder


def refusal(root, spec=SPEC):
    with pytest.raises(DatasetError) as caught:
        find_images(root, spec)
    message = str(caught.value)
    assert message.startswith(str(root))
    assert "\n" not in message
    assert isinstance(caught.value, ValueError)
    return message.removeprefix(str(root))


def test_a_missing_folder(tmp_path):
    expected = ": no such folder, expected one with a folder of images for each class"
    assert refusal(tmp_path / "none") == expected


def test_a_file_for_a_folder(tmp_path):
    save(tmp_path / "image.png")
    assert refusal(tmp_path / "image.png").startswith(": not a folder")


def test_an_empty_folder(tmp_path):
    assert refusal(tmp_path) == ": empty folder, expected a folder of images for each class"


def test_a_folder_of_other_files(tmp_path):
    (tmp_path / "data.tar").touch()
    assert refusal(tmp_path).startswith(": no folders, only other files")


def test_images_outside_of_class_folders(tmp_path):
    tree(tmp_path, "1.png", "2.png")
    assert refusal(tmp_path).startswith(
        ": holds 2 images outside of any class folder (such as 1.png)"
    )
    tree(tmp_path, "a/1.png", "b/1.png", "c/1.png")
    assert refusal(tmp_path).startswith(": holds 2 images outside")


def test_a_class_folder_without_images(tmp_path):
    tree(tmp_path, "a/1.png", "c/1.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").touch()
    assert refusal(tmp_path).startswith("/b: class folder without images (of type .jpg, .jpeg,")


def test_another_number_of_classes(tmp_path):
    tree(tmp_path, "a/1.png", "b/1.png")
    assert refusal(tmp_path) == (
        ': found 2 class folders (such as "a"), expected 3, one for each class of tinynet_e'
    )


def test_the_folder_above_the_right_one(tmp_path):
    tree(tmp_path, "val/n01440764/1.png")
    assert refusal(tmp_path, load_spec("tinynet_e")) == (
        ': found 1 class folder (such as "val"), expected 1000, one for each class of tinynet_e, '
        "or folders named after WordNet ids of ImageNet's 1000 classes"
    )


def test_a_misspelt_class(tmp_path):
    # As many folders as classes, so numbering them would go through, with wrong labels.
    tree(tmp_path, "cat/1.png", "dog/1.png", "Bird/1.png")
    spec = dataclasses.replace(SPEC, labels=("dog", "cat", "bird"))
    assert refusal(tmp_path, spec) == (
        ': 1 class folder of 3 unknown (such as "Bird"), expected names in the labels of tinynet_e'
    )


def test_a_name_that_two_classes_have(tmp_path):
    tree(tmp_path, "crane/1.png", "dog/1.png")
    spec = dataclasses.replace(SPEC, labels=("crane", "dog", "crane"))
    assert 'the folder "crane" could be any of 2 classes' in refusal(tmp_path, spec)


def test_a_class_folder_that_may_not_be_read(tmp_path, monkeypatch):
    # Simulated, because root, whom containers run as, may read everything.
    tree(tmp_path, "a/1.png", "b/1.png", "c/1.png")
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path) == str(tmp_path / "b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert refusal(tmp_path) == "/b: cannot be read: Permission denied"


# Listing unlabelled images


def test_a_folder_means_the_images_right_in_it(tmp_path):
    tree(tmp_path, "b.png", "a.JPEG", ".hidden.png", "deeper/c.png")
    (tmp_path / "notes.txt").write_text("not an image")
    assert list_images(tmp_path) == [str(tmp_path / "a.JPEG"), str(tmp_path / "b.png")]


def test_a_file_means_itself_whatever_its_name(tmp_path):
    file = tmp_path / "photo"
    file.write_bytes(b"")
    assert list_images(str(file)) == [str(file)]


def test_a_folder_without_images_and_no_folder_at_all(tmp_path):
    tree(tmp_path, "deeper/c.png")
    with pytest.raises(DatasetError, match=r"folder without images \(of type \.jpg"):
        list_images(tmp_path)
    with pytest.raises(DatasetError, match="absent: no such file or folder"):
        list_images(tmp_path / "absent")
