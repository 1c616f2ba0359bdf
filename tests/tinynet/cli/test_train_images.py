"""What train.py reads its images from: digits, subsets, functions, files that are corrupt."""

import pytest

from train_runs import (
    STEPS,
    TWINS,
    is_error,
    last_of,
    log_of,
    write_files,
)


def test_the_digits_are_there(train, tmp_path):
    status, report, _ = train("torch", "run", "--data", "digits", "--stop-after", 2)
    assert (status, report["epochs"]) == (0, 2 * 8 / 1437)
    assert log_of(tmp_path / "run", "evaluation")[0]["images"] == 360


def test_a_subset_of_imagenet(train, run_script, files, tmp_path):
    subset = tmp_path / "subset.json"
    drawn = ("--data", files / "data", "--output", subset, "--classes", 3, "--per-class", 2)
    status, _, _ = run_script("make_subset", *drawn)
    assert status == 0
    status, report, err = train("torch", "run", "--data", subset, "--set", "epochs=2")
    assert status == 0, err
    assert report["step"] == 2
    assert last_of(tmp_path / "run").progress.spec.num_classes == 3


DATA_SETS = """
import numpy as np

class Squares:
    def __init__(self, images, broken=()):
        self.images, self.broken = images, broken
    def __len__(self):
        return self.images
    def __getitem__(self, index):
        if index in self.broken:
            raise OSError("bad sector")
        return np.full((16, 16), 10 * index, np.uint8), index % 10

def squares():
    return Squares(20), Squares(7)

def broken():
    return Squares(20, broken=(4, 19)), Squares(7, broken=(0, 6))
"""


@pytest.fixture
def data_sets(tmp_path, monkeypatch):
    (tmp_path / "squares_of_train.py").write_text(DATA_SETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "squares_of_train"


def test_a_python_data_set(train, data_sets, tmp_path):
    for workers in (0, 2):
        status, report, _ = train(
            "torch", f"run{workers}", "--data", f"{data_sets}:squares", "--workers", workers
        )
        assert (status, report["step"]) == (0, STEPS)
        assert log_of(tmp_path / f"run{workers}", "evaluation")[0]["images"] == 7
    # Who prepares the images makes no difference.
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "run0" / name).read_bytes() == (tmp_path / "run2" / name).read_bytes()


@pytest.mark.parametrize("framework", TWINS)
def test_a_corrupt_image_stops_the_run(train, framework, data_sets, tmp_path):
    status, report, err = train(framework, "run", "--data", f"{data_sets}:broken")
    assert (status, report) == (2, None)
    assert is_error(err, r"broken train\[(4|19)\]: OSError: bad sector")


@pytest.mark.parametrize("framework", TWINS)
def test_corrupt_images_are_skipped_and_counted(train, framework, data_sets, tmp_path):
    data = f"{data_sets}:broken"
    status, report, err = train(framework, "run", "--data", data, "--corrupt", "skip")
    assert (status, report["step"]) == (0, STEPS)
    # Each is named once, though it was met in each epoch.
    told = sorted(line for line in err.splitlines() if line.startswith("skipped: "))
    assert told == [
        f"skipped: {data} train[19]: OSError: bad sector; {data} train[0] stands in",
        f"skipped: {data} train[4]: OSError: bad sector; {data} train[5] stands in",
        f"skipped: {data} validation[0]: OSError: bad sector",
        f"skipped: {data} validation[6]: OSError: bad sector",
    ]
    counts = [line["skipped"] for line in log_of(tmp_path / "run", "train")]
    assert counts == sorted(counts)
    assert counts[-1] == 2 * 4  # two in each of four epochs
    for line in log_of(tmp_path / "run", "evaluation"):
        assert (line["images"], line["skipped"]) == (5, 2)


def test_a_corrupt_image_stops_the_evaluation(train, files, tmp_path):
    write_files(tmp_path / "files")
    (tmp_path / "files" / "data" / "val" / "4" / "04.png").write_bytes(b"\x89PNG, not quite")
    data = ("--data", tmp_path / "files" / "data")
    status, _, err = train("torch", "run", *data)
    assert status == 2
    assert is_error(err, r"val/4/04\.png: not an image")
    status, _, err = train("torch", "skips", *data, "--corrupt", "skip")
    assert status == 0
    assert err.count("val/4/04.png: not an image") == 1
    assert {line["images"] for line in log_of(tmp_path / "skips", "evaluation")} == {12}
