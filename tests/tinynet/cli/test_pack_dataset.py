import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tinynet.data import packing
from tinynet.data.image_folder import DatasetError
from tinynet.data.open_data import open_data
from tinynet.data.sources import fingerprint
from tinynet.spec import load_spec

SCRIPTS = Path(__file__).parents[3] / "scripts"
SPEC = load_spec("tinynet_e").with_classes(3)


def write(root, images=4, splits=("train", "val")):
    """Three classes of images, in ImageNet's layout."""
    for split in splits:
        for name in ("a", "b", "b-side"):
            for number in range(images):
                path = root / split / name / "deep" / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (9, 8), (20 * number, 0, 0)).save(path)
        (root / split / "a" / "notes.txt").write_text("no image")
        (root / split / "a" / ".hidden.jpg").write_text("no image")
    return root


@pytest.fixture
def images(tmp_path):
    return write(tmp_path / "images")


@pytest.fixture
def packed(tmp_path):
    return tmp_path / "packed"


@pytest.fixture
def pack(run_script, images, packed):
    def run(*options, source=images):
        return run_script("pack_dataset", source, packed, *options)

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# What is written


def test_what_is_packed_is_the_folder(pack, images, packed):
    status, out, err = pack()
    assert (status, err) == (0, "")
    assert out.startswith(f"{packed}/train.zip: 12 images, 0.0 MB\n{packed}/val.zip: 12 images, ")
    assert sorted(contents(packed)) == ["train.zip", "val.zip"]
    expected, found = open_data(str(images), SPEC), open_data(str(packed), SPEC)
    for one, other in zip(expected[:2], found[:2], strict=True):
        assert fingerprint(one) == fingerprint(other)
        for index in range(12):
            assert one.encoded(index) == other.encoded(index)


def test_json_reports_one_object(pack, images, packed):
    status, out, _ = pack("--json")
    assert status == 0
    assert json.loads(out) == {
        "source": str(images),
        "destination": str(packed),
        "archives": [
            {"path": str(path), "images": 12, "bytes": path.stat().st_size, "kept": False}
            for path in (packed / "train.zip", packed / "val.zip")
        ],
    }


def test_unpacking_gives_the_folder_again(pack, images, packed):
    pack()
    for name in ("train", "val"):
        with zipfile.ZipFile(packed / f"{name}.zip") as archive:
            assert archive.testzip() is None
            archive.extractall(packed)
        found = {path.relative_to(packed) for path in (packed / name).rglob("*.jpg")}
        expected = {path.relative_to(images) for path in (images / name).rglob("[!.]*.jpg")}
        assert found == expected
        assert all((packed / path).read_bytes() == (images / path).read_bytes() for path in found)


def test_the_same_images_are_the_same_bytes(pack, images, packed):
    pack()
    first = contents(packed)
    for path in images.rglob("*"):
        os.utime(path, (1e9, 1e9))
    shutil.rmtree(packed)
    # Neither their times nor their folder count, nor what validation is called.
    moved = images.rename(images.with_name("moved"))
    (moved / "val").rename(moved / "validation")
    pack(source=moved)
    assert contents(packed) == first


def test_links_are_followed(pack, images, packed, tmp_path):
    pack()
    first = contents(packed)
    shutil.rmtree(packed)
    (images / "train" / "b").rename(tmp_path / "elsewhere")
    (images / "train" / "b").symlink_to(tmp_path / "elsewhere")
    pack()
    assert contents(packed) == first


def test_a_subset_is_packed(pack, run_script, images, packed, tmp_path):
    subset = tmp_path / "subset.json"
    drawn = ("--data", images, "--output", subset, "--classes", 2, "--per-class", 3)
    assert run_script("make_subset", *drawn)[0] == 0
    status, out, err = pack(source=subset)
    assert (status, err) == (0, "")
    assert "train.zip: 6 images" in out
    expected = open_data(str(subset), SPEC)
    found = open_data(str(packed), SPEC, classes_from_data=True)
    assert found.spec == expected.spec
    for one, other in zip(expected[:2], found[:2], strict=True):
        assert len(one) == len(other)
        for index in range(len(one)):
            assert one.identity(index).partition("/")[2] == other.identity(index)
            assert one.encoded(index) == other.encoded(index)


# What is there already


def test_what_is_whole_is_kept(pack, packed, monkeypatch):
    pack()
    before = {path.name: path.stat().st_mtime_ns for path in packed.iterdir()}
    (packed / "val.zip").unlink()
    status, out, err = pack()
    assert (status, err) == (0, "")
    kept, again = out.splitlines()
    assert kept.endswith("train.zip: 12 images, 0.0 MB, kept: it holds these images")
    assert again.endswith("val.zip: 12 images, 0.0 MB")
    assert (packed / "train.zip").stat().st_mtime_ns == before["train.zip"]
    assert [one["kept"] for one in json.loads(pack("--json")[1])["archives"]] == [True, True]


def change(images):
    path = images / "val" / "b" / "deep" / "2.jpg"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DIFFERENCES = {
    "a changed byte": lambda images, _: change(images),
    "one more": lambda images, _: shutil.copy(
        images / "val/b/deep/2.jpg", images / "val/b/deep/21.jpg"
    ),
    "one less": lambda images, _: (images / "val/b/deep/2.jpg").unlink(),
    "another name": lambda images, _: (images / "val/b").rename(images / "val/c"),
    "no archive": lambda _, packed: (packed / "val.zip").write_bytes(b"text"),
    "cut short": lambda _, packed: os.truncate(packed / "val.zip", 800),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_what_is_different_is_refused_before_anything_is_packed(pack, images, packed, difference):
    pack()
    (packed / "train.zip").unlink()
    DIFFERENCES[difference](images, packed)
    before = contents(packed)
    status, out, err = pack()
    assert (status, out) == (2, "")
    assert err == (
        f"error: {packed}/val.zip: is there already and does not hold these images; --force "
        "replaces it\n"
    )
    assert contents(packed) == before
    status, _, err = pack("--force")
    assert (status, err) == (0, "")
    assert packing.is_packed(packed / "val.zip", packing.list_files(images)["val"])


def test_compressed_archives_of_the_same_images_are_different(pack, images, packed):
    packed.mkdir()
    with zipfile.ZipFile(packed / "val.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in packing.list_files(images)["val"]:
            archive.write(path, name)
    status, _, err = pack()
    assert status == 2
    assert "val.zip: is there already and does not hold these images" in err


# Interruptions


def test_what_fails_leaves_nothing(pack, images, packed):
    (images / "val" / "b" / "deep" / "2.jpg").unlink()
    (images / "val" / "b" / "deep" / "2.jpg").symlink_to("absent")
    status, _, err = pack()
    assert status == 2
    assert err == f"error: {images}/val/b/deep/2.jpg: No such file or directory\n"
    assert sorted(contents(packed)) == ["train.zip"]
    (images / "val" / "b" / "deep" / "2.jpg").unlink()
    status, out, _ = pack()
    assert status == 0
    assert "train.zip: 12 images, 0.0 MB, kept" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("split", ["train", "val"])
def test_an_interrupted_pack_is_started_again(images, packed, tmp_path, number, split):
    last = images / split / "b-side" / "deep" / "9.jpg"
    last.write_bytes(b"the last one")
    for name, files in packing.list_files(images).items():
        packing.pack(tmp_path / f"{name}.zip", files)
    last.unlink()
    os.mkfifo(last)  # where the command waits
    command = [sys.executable, str(SCRIPTS / "pack_dataset.py"), str(images), str(packed)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(packed.glob(f".{split}.zip.*/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    # What has an archive's name is whole.
    assert {path.name for path in packed.glob("*.zip")} == {"train.zip"} - {f"{split}.zip"}
    if number == signal.SIGINT:
        assert (process.returncode, err) == (130, "error: interrupted\n")
        assert not list(packed.glob(".*"))
    last.unlink()
    last.write_bytes(b"the last one")
    subprocess.run(command, check=True)
    for name in ("train.zip", "val.zip"):
        assert (packed / name).read_bytes() == (tmp_path / name).read_bytes()


# What can be wrong


def test_a_folder_that_would_hide_the_archive(pack, images, run_script):
    status, _, err = run_script("pack_dataset", images, images)
    assert status == 2
    assert err == (
        f"error: {images}: has a folder train/, which --data would take in the place of "
        "train.zip; name another folder\n"
    )


def test_another_layout(pack, images, packed, tmp_path):
    status, _, err = pack(source=tmp_path / "absent")
    assert status == 2
    assert "absent: no such folder, expected one with train/" in err
    status, _, err = pack(source=images / "train")
    assert status == 2
    assert "has no folder train/" in err
    (images / "val" / "c").mkdir()
    status, _, err = pack()
    assert status == 2
    assert f"{images}/val/c: class folder without images" in err
    assert not packed.exists()


def test_a_destination_that_is_a_file(pack, packed):
    packed.touch()
    status, _, err = pack()
    assert (status, err) == (2, f"error: {packed}: File exists\n")


def test_names_that_are_no_text(images):
    folder = images / "train" / "a"
    (folder / "deep" / "0.jpg").rename(folder / os.fsdecode(b"\xff.jpg"))
    with pytest.raises(DatasetError, match=r"\\udcff\.jpg': the name is not UTF-8 text, rename"):
        packing.list_files(images)
