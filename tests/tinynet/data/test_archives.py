import dataclasses
import os
import pickle
import shutil
import struct
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinynet.data.archives import open_archive
from tinynet.data.evaluation_batches import Prepared
from tinynet.data.image_folder import DatasetError, find_images
from tinynet.data.labels import wordnet_ids
from tinynet.data.loader import load_batches
from tinynet.data.open_data import open_data, open_validation
from tinynet.data.preprocessing import ImageError
from tinynet.data.sources import fingerprint
from tinynet.recipe import load_recipe
from tinynet.spec import Preprocessing, load_spec

from image_trees import tree

SPEC = dataclasses.replace(
    load_spec("tinynet_e").with_classes(3),
    input_size=(1, 8, 8),
    preprocessing=Preprocessing((0.0,), (1.0,)),
)
NAMES = ("a/0.png", "b/deep/er/1.png", "b/deep-er/2.png", "b/3.JPEG", "b-side/4.png")


def zipped(path, folder, names=None, **settings):
    """Writes the files of a folder, or those named, into a ZIP file by Python's library."""
    names = names or [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name in names:
            archive.write(folder / name, str(name))
    return path


def assert_same(found, expected):
    assert fingerprint(found) == fingerprint(expected)
    assert found.classes == expected.classes
    for index in range(len(expected)):
        assert found.identity(index) == expected.identity(index)
        assert found.label(index) == expected.label(index)
        assert found.encoded(index) == expected.encoded(index)
        np.testing.assert_array_equal(found.image(index), expected.image(index))


def refusal(path, spec=SPEC):
    with pytest.raises(DatasetError) as caught:
        open_archive(path).labelled(spec)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


# The same images as in the folder


def test_an_archive_is_the_folder_that_was_packed(tmp_path):
    root = tree(tmp_path / "data", *NAMES)
    backwards = [Path(name) for name in NAMES[::-1]]
    archive = open_archive(zipped(tmp_path / "data.zip", root, backwards))
    assert archive.folders == ["a", "b", "b-side"]
    found = archive.labelled(SPEC)
    assert_same(found, find_images(root, SPEC))
    assert found.name(1) == f"{tmp_path}/data.zip/b/3.JPEG"


@pytest.mark.skipif(shutil.which("zip") is None, reason="no zip")
@pytest.mark.parametrize("inside", [False, True])
def test_what_the_systems_zip_makes(tmp_path, inside):
    root = tree(tmp_path / "val", *NAMES, "b/bücher/日本.png", "b/.hidden/1.png", "c/._1.png")
    shutil.rmtree(root / "c")
    (root / "a" / "notes.txt").write_text("no image")
    shutil.copy(root / "a" / "0.png", os.fsencode(root / "b") + b"/\xff\xfe.png")
    folder, what = (root, ".") if inside else (tmp_path, "val")
    subprocess.run(["zip", "-q", "-0", "-r", tmp_path / "any.zip", what], cwd=folder, check=True)
    assert_same(open_archive(tmp_path / "any.zip").labelled(SPEC), find_images(root, SPEC))


def test_names_that_are_marked_as_text(tmp_path):
    root = tree(tmp_path / "data", "a/ä.png", "b/日本.png", "c/1.png")
    path = zipped(tmp_path / "data.zip", root)
    with zipfile.ZipFile(path) as archive:
        assert any(info.flag_bits & 0x800 for info in archive.infolist())
    assert_same(open_archive(path).labelled(SPEC), find_images(root, SPEC))


def test_one_class_is_no_common_folder(tmp_path):
    root = tree(tmp_path / "data", "a/1.png", "a/deep/2.png")
    spec = SPEC.with_classes(1)
    found = open_archive(zipped(tmp_path / "data.zip", root)).labelled(spec)
    assert_same(found, find_images(root, spec))


def test_a_later_entry_replaces_an_earlier_one(tmp_path):
    path = zipped(tmp_path / "data.zip", tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png"))
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(path, "a") as archive,
    ):
        archive.write(tmp_path / "data" / "c" / "3.png", "a/1.png")
    found = open_archive(path).labelled(SPEC)
    assert [found.image(index).getpixel((0, 0)) for index in range(len(found))] == [2, 1, 2]


def test_headers_of_any_length(tmp_path):
    # More than is read at once with an image, and an offset for what was put in front.
    root = tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png")
    path = tmp_path / "data.zip"
    with path.open("wb") as file:
        file.write(b"#!/bin/sh\n")
        with zipfile.ZipFile(file, "w") as archive:
            for image in root.rglob("*.png"):
                info = zipfile.ZipInfo(str(image.relative_to(root)))
                info.extra = struct.pack("<HH", 0xCAFE, 5000) + bytes(5000)
                archive.writestr(info, image.read_bytes())
    assert_same(open_archive(path).labelled(SPEC), find_images(root, SPEC))


# Labels


def test_labels_are_those_of_the_folder(tmp_path):
    ids = wordnet_ids()
    root = tree(tmp_path / "data", f"{ids[967]}/coffee.png", f"{ids[3]}/fish.png")
    archive = open_archive(zipped(tmp_path / "data.zip", root))
    spec = load_spec("tinynet_e")
    assert_same(archive.labelled(spec), find_images(root, spec))
    assert [archive.labelled(spec).label(index) for index in (0, 1)] == [3, 967]


def two(root, *names):
    """A folder with train and val, and another with archives of both."""
    for split in ("train", "val"):
        tree(root / "folders" / split, *names)
        (root / "archives").mkdir(exist_ok=True)
        zipped(root / "archives" / f"{split}.zip", root / "folders" / split)
    return root / "folders", root / "archives"


def test_archives_are_data(tmp_path):
    folders, archives = two(tmp_path, "x/1.png", "y/2.png", "z/3.png")
    expected, found = open_data(str(folders), SPEC), open_data(str(archives), SPEC)
    assert_same(found.train, expected.train)
    assert_same(found.validation, expected.validation)
    assert found.spec == expected.spec == found.validation.spec
    assert_same(open_validation(str(archives), SPEC), expected.validation)
    assert_same(open_validation(str(archives / "val.zip"), SPEC), expected.validation)
    (archives / "val.zip").rename(archives / "validation.zip")
    assert_same(open_data(str(archives), SPEC).validation, expected.validation)


def test_a_folder_counts_before_an_archive_beside_it(tmp_path):
    folders, archives = two(tmp_path, "x/1.png", "y/2.png", "z/3.png")
    shutil.copy(archives / "train.zip", folders)
    (folders / "val").rename(folders / "validation")
    shutil.copy(archives / "val.zip", folders)
    data = open_data(str(folders), SPEC)
    assert data.train.name(0) == str(folders / "train" / "x" / "1.png")
    assert data.validation.name(0) == str(folders / "validation" / "x" / "1.png")


def test_a_folder_and_an_archive_are_data_together(tmp_path):
    folders, archives = two(tmp_path, "x/1.png", "y/2.png", "z/3.png")
    shutil.rmtree(folders / "val" / "y")
    shutil.copytree(folders / "val", archives / "val")
    (archives / "val.zip").unlink()
    data = open_data(str(archives), SPEC)
    assert [data.validation.label(index) for index in range(2)] == [0, 2]
    assert data.train.name(0) == f"{archives}/train.zip/x/1.png"


def test_classes_of_the_data_and_foreign_ones(tmp_path):
    _, archives = two(tmp_path, "x/1.png", "y/2.png", "z/3.png", "w/4.png")
    with pytest.raises(DatasetError, match=r"train\.zip: found 4 .*; --classes-from-data gives"):
        open_data(str(archives), SPEC)
    spec = open_data(str(archives), SPEC, classes_from_data=True).spec
    assert spec == SPEC.with_classes(4, ("w", "x", "y", "z"))
    zipped(archives / "val.zip", tree(tmp_path / "other", "x/1.png", "v/1.png"))
    with pytest.raises(DatasetError, match=r'val\.zip: has a class folder "v" that .*train\.zip'):
        open_data(str(archives), SPEC)


def test_neither_folder_nor_archive(tmp_path):
    _, archives = two(tmp_path, "x/1.png")
    (archives / "val.zip").unlink()
    with pytest.raises(DatasetError, match=r"no folder val/ or validation/ .*, and no val\.zip or"):
        open_data(str(archives), SPEC)
    with pytest.raises(DatasetError, match="no such data"):
        open_data(str(archives / "train.zip"), SPEC)
    with pytest.raises(DatasetError, match=r"absent\.zip: cannot be read: No such file"):
        open_validation(str(archives / "absent.zip"), SPEC)


# Bad input: one line that names the archive


def test_another_number_of_classes(tmp_path):
    path = zipped(tmp_path / "data.zip", tree(tmp_path / "data", "a/1.png", "b/2.png"))
    assert refusal(path).startswith(': found 2 class folders (such as "a"), expected 3')


def test_images_outside_of_class_folders(tmp_path):
    root = tree(tmp_path / "data", "1.png", "a/1.png", "b/1.png", "2.png")
    path = zipped(tmp_path / "data.zip", root)
    assert refusal(path).startswith(
        ": holds 2 images outside of any class folder (such as 1.png), expected a folder"
    )


def test_a_class_folder_without_images(tmp_path):
    path = zipped(tmp_path / "data.zip", tree(tmp_path / "data", "a/1.png", "c/1.png"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/notes.txt", "no image")
    assert refusal(path).startswith("/b: class folder without images (of type .jpg, .jpeg,")


def test_nothing_and_nothing_of_use(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(".git/1.png", "hidden")
    assert refusal(path) == ": empty archive, expected a folder of images for each class"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "no image")
    assert refusal(path).startswith(": no folders, only other files")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_images(tmp_path, method):
    root = tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png")
    path = zipped(tmp_path / "data.zip", root, compression=method)
    assert refusal(path) == (
        "/a/1.png: is compressed, expected an image that is stored as it is; pack again with "
        "scripts/pack_dataset.py, or with zip -0 -r"
    )


def test_compressed_files_that_are_no_images_do_not_matter(tmp_path):
    root = tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png")
    path = zipped(tmp_path / "data.zip", root)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/notes.txt", "no image" * 100)
    assert_same(open_archive(path).labelled(SPEC), find_images(root, SPEC))


@pytest.mark.skipif(shutil.which("zip") is None, reason="no zip")
def test_encrypted_images(tmp_path):
    tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png")
    command = ["zip", "-q", "-0", "-r", "-P", "secret", tmp_path / "data.zip", "data"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert refusal(tmp_path / "data.zip").startswith("/a/1.png: is encrypted, expected an image")


def test_files_that_are_no_archives(tmp_path):
    path = tmp_path / "data.zip"
    whole = zipped(path, tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png")).read_bytes()
    contents = {"empty": b"", "text": b"not a ZIP file", "zeros": bytes(5000)}
    contents |= {f"cut at {length}": whole[:length] for length in range(1, len(whole), 7)}
    # Cut short in the middle, with an index that tells of more.
    contents["without its middle"] = whole[:40] + whole[-300:]
    for name, content in contents.items():
        path.write_bytes(content)
        message = refusal(path)
        assert "cut short" in message, name


def test_a_damaged_index_is_refused_by_dataset_error_only(tmp_path):
    random = np.random.default_rng(0)
    root = tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png")
    path = zipped(tmp_path / "data.zip", root)
    whole = path.read_bytes()
    index = whole.index(b"PK\1\2")
    messages = []
    for _ in range(300):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(index, len(damaged), size=3)] ^= 1 << random.integers(8)
        path.write_bytes(damaged.tobytes())
        try:
            found = open_archive(path).labelled(SPEC)
            for place in range(len(found)):
                found.image(place)
        except (DatasetError, ImageError) as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(message.startswith(str(path)) and "\n" not in message for message in messages)


def test_a_damaged_image_is_named_and_the_others_are_read(tmp_path):
    root = tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png")
    path = zipped(
        tmp_path / "data.zip", root, [f"{name}" for name in ("a/1.png", "b/2.png", "c/3.png")]
    )
    content = bytearray(path.read_bytes())
    content[content.index(b"b/2.png") + 40] ^= 1
    path.write_bytes(content)
    found = open_archive(path).labelled(SPEC)
    expected = rf"^{path}/b/2\.png: is damaged in the archive, or the archive was written to"
    with pytest.raises(ImageError, match=expected):
        found.image(1)
    prepared = Prepared(found, SPEC, on_corrupt="skip")
    assert [prepared[index][1] for index in range(3)] == [0, -1, 2]


def test_an_archive_that_is_replaced_while_it_is_used(tmp_path):
    root = tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png")
    path = zipped(tmp_path / "data.zip", root)
    opened, unopened = (open_archive(path).labelled(SPEC) for _ in range(2))
    image = opened.image(0)
    (tmp_path / "more").mkdir()
    tree(tmp_path / "more", "a/0.png", "a/1.png", "b/2.png", "c/3.png")
    zipped(tmp_path / "new.zip", tmp_path / "more").replace(path)
    assert opened.image(0) == image  # the file that was opened
    with pytest.raises(ImageError, match="or the archive was written to"):
        [unopened.image(index) for index in range(3)]
    path.unlink()
    with pytest.raises(ImageError, match=r"/a/1\.png: cannot be read: No such file or directory"):
        pickle.loads(pickle.dumps(opened)).image(0)


# To other threads and processes


def test_threads_share_an_archive(tmp_path):
    names = [f"{'abc'[number % 3]}/{number:03d}.png" for number in range(60)]
    root = tree(tmp_path / "data", *names)
    found = open_archive(zipped(tmp_path / "data.zip", root)).labelled(SPEC)
    expected = [find_images(root, SPEC).encoded(index) for index in range(60)]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(found.encoded, [*range(60)] * 80)] == expected * 80


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux tells it there")
def test_the_file_is_opened_once_and_closed(tmp_path):
    path = zipped(tmp_path / "data.zip", tree(tmp_path / "data", "a/1.png", "b/2.png", "c/3.png"))

    def is_open():
        return [link for link in Path("/proc/self/fd").iterdir() if link.resolve() == path]

    found = open_archive(path).labelled(SPEC)
    assert not is_open()
    for index in (0, 1, 2, 0):
        found.image(index)
    assert len(is_open()) == 1
    del found
    assert not is_open()


@pytest.mark.parametrize("engine", ["pillow", "fast"])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_folder(tmp_path, engine, workers):
    if engine == "fast":
        pytest.importorskip("simplejpeg")
        pytest.importorskip("cykooz_resizer")
    spec = load_spec("tinynet_e").with_classes(3)
    random = np.random.default_rng(0)
    root = tmp_path / "data"
    for number in range(12):
        path = root / "abc"[number % 3] / f"{number}.{'png' if number == 5 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(random.integers(0, 256, (8, 10, 3), np.uint8))
        small.resize((160, 120)).save(path)
    recipe = load_recipe("imagenet", ["batch_size=4", f"augmentation.engine={engine}"])
    folder = find_images(root, spec)
    archive = open_archive(zipped(tmp_path / "data.zip", root)).labelled(spec)
    batches = [
        list(load_batches(source, spec, recipe, 0, first_step=0, last_step=4, workers=workers))
        for source in (folder, archive)
    ]
    for expected, found in zip(*batches, strict=True):
        np.testing.assert_array_equal(found.images, expected.images)
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_worker_is_sent_little_and_reads_no_index(tmp_path, monkeypatch):
    # As much as ImageNet has for each image; what the images are does not matter.
    names = [
        f"n{number % 1000:08d}/n{number % 1000:08d}_{number}.JPEG" for number in range(100_000)
    ]
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"")
    found = open_archive(tmp_path / "data.zip").labelled(SPEC.with_classes(1000))
    sent = pickle.dumps(found, pickle.HIGHEST_PROTOCOL)
    assert len(sent) < 64 * len(names) + 100_000
    monkeypatch.setattr(zipfile, "ZipFile", None)
    copy = pickle.loads(sent)
    assert fingerprint(copy) == fingerprint(found)
    assert copy.encoded(50_000) == b""
