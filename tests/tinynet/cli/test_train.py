"""train.py as its users run it, in both frameworks."""

import json
import math
import re
import struct

import pytest
from tensorboardX.proto import event_pb2

from tinynet.checkpoints.training_state import load_training_state
from tinynet.recipe import parse_recipe
from tinynet.spec import parse_spec
from tinynet.training.schedule import learning_rate

from train_runs import (
    IMAGES,
    RECIPE,
    SPEC,
    STEPS,
    VALIDATION_IMAGES,
    arguments,
    is_error,
    last_of,
    log_of,
    write_files,
)

TWINS = ("torch", "mindspore")
ENDS = [3, 5, 8, 10]  # steps that take the last image of an epoch


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("train"))


@pytest.fixture
def train(run_script, files, tmp_path):
    """Trains and gives the exit status, the report and what stood on standard error."""

    def run(framework, name, *more):
        command = arguments(framework, files, tmp_path / name, "--json", *more)
        status, out, err = run_script("train", *command)
        return status, (json.loads(out) if out else None), err

    return run


def folder_of(output):
    return sorted(path.name for path in output.iterdir())


def scalars_of(output):
    # TensorBoard's files: length, its checksum, an event, its checksum.
    scalars = {}
    for path in sorted((output / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars


# What a run leaves


@pytest.mark.parametrize("framework", TWINS)
def test_a_run_and_its_records(train, framework, tmp_path):
    output = tmp_path / "run"
    status, report, err = train(framework, "run", "--log-every", 2, "--keep-every", 2, "--seed", 3)
    assert status == 0
    assert folder_of(output) == [
        "best.safetensors",
        "epoch_00002.safetensors",
        "epoch_00004.safetensors",
        "last.safetensors",
        "log.jsonl",
        "run.json",
        "tensorboard",
    ]
    log, evaluations = log_of(output, "train"), log_of(output, "evaluation")

    # The log
    assert [line["step"] for line in log] == [2, 4, 6, 8, 10]
    for line in log:
        assert list(line) == [
            "kind",
            "step",
            "epoch",
            "loss",
            "learning_rate",
            "images_per_second",
            "skipped",
        ]
        assert line["epoch"] == line["step"] * 8 / IMAGES
        assert line["learning_rate"] == learning_rate(RECIPE, line["step"] - 1, IMAGES)
        assert 1.5 < line["loss"] < 4
        assert line["images_per_second"] > 0
        assert line["skipped"] == 0
    assert [line["step"] for line in evaluations] == ENDS
    for line in evaluations:
        assert list(line) == [
            "kind",
            "step",
            "epoch",
            "images",
            "top1",
            "top5",
            "loss",
            "skipped",
            "ema_top1",
            "ema_top5",
            "ema_loss",
        ]
        assert line["images"] == VALIDATION_IMAGES
        hits = [line[name] * VALIDATION_IMAGES / 100 for name in ("top1", "ema_top1", "ema_top5")]
        assert hits == pytest.approx([round(number) for number in hits])
    assert [line["step"] for line in log_of(output)] == [2, 3, 4, 5, 6, 8, 8, 10, 10]

    # The report, and what a person sees
    assert report.keys() >= {"output", "epochs", "top1", "ema_top1", "loss", "checkpoint"}
    assert report["output"] == str(output)
    assert report["epochs"] == 4
    assert report["top1"] == evaluations[-1]["top1"]
    assert report["ema_top1"] == evaluations[-1]["ema_top1"]
    assert 1.5 < report["loss"] < 4
    assert report["checkpoint"] == str(output / "last.safetensors")
    assert (report["step"], report["stopped_by"]) == (STEPS, None)
    assert [line.split("  step ")[0] for line in err.splitlines()] == [
        "epoch   1.20",
        "epoch   2.00",
        "epoch   3.20",
        "epoch   4.00",
    ]

    # The checkpoints
    values = [line["ema_top1"] for line in evaluations]
    best = {"metric": "ema_top1", "value": max(values), "step": ENDS[values.index(max(values))]}
    assert report["best"] == best
    steps = {}
    for path in output.glob("*.safetensors"):
        state = load_training_state(path)
        progress = state.progress
        assert (progress.spec, progress.recipe, progress.seed) == (SPEC, RECIPE, 3)
        assert (progress.images, progress.ema_updates) == (IMAGES, progress.step)
        steps[path.stem] = progress.step
    assert steps == {"last": 10, "best": best["step"], "epoch_00002": 5, "epoch_00004": 10}

    # What it takes to repeat the run
    run = json.loads((output / "run.json").read_text())
    assert parse_spec(json.dumps(run["spec"])) == SPEC
    assert parse_recipe(json.dumps(run["recipe"])) == RECIPE
    assert (run["seed"], run["images"]) == (3, IMAGES)
    assert run["data_sha256"] == last_of(output).progress.data_sha256
    (session,) = run["sessions"]
    assert session["command"].startswith(f"python scripts/train.py --framework {framework} ")
    assert session["command"].endswith("--log-every 2 --keep-every 2 --seed 3")
    assert session["git_commit"] is None or re.fullmatch(
        "[0-9a-f]{40}(-dirty)?", session["git_commit"]
    )
    assert {"python", "torch", "mindspore", "numpy", "pillow"} <= session["versions"].keys()
    assert (session["from_step"], session["processes"], session["device"]) == (0, 1, "cpu")
    assert session["compiled"] is False

    # TensorBoard has what the log has
    scalars = scalars_of(output)
    for line in log_of(output):
        for key in line.keys() - {"kind", "step", "images"}:
            found = scalars[f"{line['kind']}/{key}"][line["step"]]
            assert found == pytest.approx(line[key], rel=1e-6)
    assert scalars.keys() == {
        f"{line['kind']}/{key}"
        for line in log_of(output)
        for key in line.keys() - {"kind", "step", "images"}
    }


def test_a_run_for_people(run_script, files, tmp_path):
    command = arguments("torch", files, tmp_path / "run", "--stop-after", 4)
    status, out, err = run_script("train", *command)
    assert status == 0
    assert out.splitlines()[0] == "small: 4 steps, 1.60 epochs"
    assert re.fullmatch(r"top-1  +\d+\.\d{3} %  of 13 images", out.splitlines()[1])
    assert re.fullmatch(r"top-1, averaged  +\d+\.\d{3} %", out.splitlines()[2])
    assert out.splitlines()[3:] == [
        "not done; the same command with --resume auto goes on",
        str(tmp_path / "run" / "last.safetensors"),
    ]
    assert err.count("\n") == 2


# Going on


@pytest.mark.parametrize("framework", TWINS)
def test_an_interrupted_run_is_the_same_run(train, framework, tmp_path):
    # Stopped in an epoch, at the end of one, and resumed with other records.
    train(framework, "whole")
    for stop in (1, 4, 5):
        status, report, _ = train(framework, "parts", "--resume", "auto", "--stop-after", stop)
        assert (status, report["step"]) == (0, stop)
    status, report, _ = train(framework, "parts", "--resume", "auto", "--save-every", 1)
    assert (status, report["step"]) == (0, STEPS)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # The same state is the same bytes: weights, averages, slots, statistics, progress.
    for name in ("last.safetensors", "best.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    for field in ("step", "epoch", "loss", "learning_rate"):
        assert [line[field] for line in log_of(parts, "train")] == [
            line[field] for line in log_of(whole, "train")
        ]
    # Where it stopped it was evaluated once more.
    evaluations = log_of(parts, "evaluation")
    assert [line["step"] for line in evaluations] == [1, 3, 4, 5, 8, 10]
    assert [line for line in evaluations if line["step"] in ENDS] == log_of(whole, "evaluation")
    sessions = json.loads((parts / "run.json").read_text())["sessions"]
    assert [session["from_step"] for session in sessions] == [0, 1, 4, 5]
    assert sessions[1]["stop_after"] == 4
    # A job that is started once more than it needs has succeeded.
    before = {path: path.read_bytes() for path in parts.iterdir() if path.is_file()}
    status, report, err = train(framework, "parts", "--resume", "auto")
    assert (status, report["step"], report["loss"], err) == (0, STEPS, None, "")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("framework", TWINS)
def test_a_run_moves_to_packed_images_and_back(train, run_script, framework, files, tmp_path):
    status, _, err = run_script("pack_dataset", files / "data", tmp_path / "packed")
    assert status == 0, err
    packed = ("--data", tmp_path / "packed")
    train(framework, "whole")
    train(framework, "moved", "--stop-after", 3)
    status, _, err = train(
        framework, "moved", *packed, "--stop-after", 6, "--resume", "auto", "--workers", 2
    )
    assert status == 0, err
    status, report, err = train(framework, "moved", "--resume", "auto")
    assert (status, report["step"]) == (0, STEPS), err
    status, _, err = train(framework, "packed", *packed)
    assert status == 0, err
    expected = (tmp_path / "whole" / "last.safetensors").read_bytes()
    for name in ("moved", "packed"):
        assert (tmp_path / name / "last.safetensors").read_bytes() == expected
        for kind, key in (("train", "loss"), ("evaluation", "ema_loss")):
            ends = [
                [line[key] for line in log_of(tmp_path / run, kind) if line["step"] in ENDS]
                for run in ("whole", name)
            ]
            assert ends[0] == ends[1]


def test_what_a_killed_run_left_is_done_again(train, tmp_path):
    train("torch", "whole")
    train("torch", "killed", "--stop-after", 4)
    output = tmp_path / "killed"
    # Killed in writes: lines behind the checkpoint, half a line, temporary folders.
    with (output / "log.jsonl").open("a") as log:
        log.write('{"kind": "train", "step": 5, "loss": 1.0}\n{"kind": "tr')
    for name in ("last.safetensors", "best.safetensors", "run.json", "log.jsonl"):
        (output / f".{name}.abcdefgh").mkdir()
        (output / f".{name}.abcdefgh" / name).write_text("half of it")
    status, _, _ = train("torch", "killed", "--resume", "auto")
    assert status == 0
    assert folder_of(output) == [
        "best.safetensors",
        "last.safetensors",
        "log.jsonl",
        "run.json",
        "tensorboard",
    ]
    expected = (tmp_path / "whole" / "last.safetensors").read_bytes()
    assert (output / "last.safetensors").read_bytes() == expected
    assert [line["loss"] for line in log_of(output, "train")] == [
        line["loss"] for line in log_of(tmp_path / "whole", "train")
    ]


@pytest.mark.parametrize(
    ("first", "suffix", "second"),
    [
        ("torch", ".pth", "torch"),
        ("torch", ".ckpt", "mindspore"),
        ("mindspore", ".pth", "torch"),
        ("mindspore", ".ckpt", "mindspore"),
    ],
)
def test_a_copy_goes_on_in_either_framework(train, run_script, first, suffix, second, tmp_path):
    train(first, "first", "--stop-after", 4)
    copy = tmp_path / f"copy{suffix}"
    status, _, _ = run_script("convert", tmp_path / "first" / "last.safetensors", copy)
    assert status == 0
    status, report, _ = train(second, "second", "--resume", copy)
    assert (status, report["step"], report["epochs"]) == (0, STEPS, 4)
    assert [line["step"] for line in log_of(tmp_path / "second", "train")] == [5, 6, 7, 8, 9, 10]
    train(second, "whole")
    found, whole = last_of(tmp_path / "second"), last_of(tmp_path / "whole")
    assert found.progress.ema_updates == STEPS
    losses = [line["loss"] for line in log_of(tmp_path / "second", "train")]
    expected = [line["loss"] for line in log_of(tmp_path / "whole", "train")][4:]
    if first == second:
        assert losses == expected
        assert all((found.tensors[key] == whole.tensors[key]).all() for key in whole.tensors)
    else:
        # Rounding makes 1e-6; the envelope of the bar is measured elsewhere.
        assert losses == pytest.approx(expected, rel=1e-4)


def test_a_kept_checkpoint_is_a_place_to_go_back_to(train, tmp_path):
    train("torch", "run", "--keep-every", 2)
    output = tmp_path / "run"
    expected = (output / "last.safetensors").read_bytes()
    status, _, _ = train("torch", "run", "--resume", output / "epoch_00002.safetensors")
    assert status == 0
    assert (output / "last.safetensors").read_bytes() == expected
    assert [line["step"] for line in log_of(output, "train")] == list(range(1, STEPS + 1))


def test_the_fast_engine_trains_both_twins_on_the_same_almost_equal_images(train, tmp_path):
    pytest.importorskip("simplejpeg")
    pytest.importorskip("cykooz_resizer")
    runs = {"pillow": ("torch", "pillow")} | {twin: (twin, "fast") for twin in TWINS}
    losses = {}
    for name, (framework, engine) in runs.items():
        status, _, err = train(framework, name, "--set", f"augmentation.engine={engine}")
        assert status == 0, err
        losses[name] = [line["loss"] for line in log_of(tmp_path / name, "train")]
        recipe = json.loads((tmp_path / name / "run.json").read_text())["recipe"]
        assert recipe["augmentation"].get("engine", "pillow") == engine
    assert losses["torch"] == pytest.approx(losses["mindspore"], rel=1e-3)
    assert losses["torch"] == pytest.approx(losses["pillow"], rel=0.2)
    assert losses["torch"][0] != losses["pillow"][0]


@pytest.fixture
def stopped(train, run_script, files, tmp_path, monkeypatch):
    """A run that was stopped, and files that it cannot go on from."""
    train("torch", "run", "--stop-after", 2)
    last = tmp_path / "run" / "last.safetensors"
    run_script("convert", last, tmp_path / "weights.safetensors", "--weights-only")
    content = bytearray(last.read_bytes())
    content[-5] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(content)
    (tmp_path / "short.safetensors").write_bytes(content[:5000])
    write_files(tmp_path / "other")
    (tmp_path / "other" / "data" / "train" / "3" / "03.png").rename(
        tmp_path / "other" / "data" / "train" / "3" / "3.png"
    )
    monkeypatch.chdir(tmp_path)
    return last


RESUME_ERRORS = {
    "recipe": (
        ("--set", "schedule.learning_rate=0.1", "--set", "epochs=5"),
        r"last\.safetensors: was made with another recipe: epochs \(4\.0, 5\.0\), "
        r"schedule\.learning_rate \(0\.002, 0\.1\)",
    ),
    "engine": (
        ("--set", "augmentation.engine=fast"),
        r'another recipe: augmentation\.engine \(null, "fast"\)',
    ),
    "spec": (("--spec", "tinynet_digits"), "trains small, expected tinynet_digits"),
    "data": (("--data", "other/data"), "was made on 20 other images than the 20 of the data named"),
    "seed": (("--seed", "1"), "has seed 0, expected 1"),
    "weights only": (("--resume", "weights.safetensors"), "holds only weights"),
    "damaged": (("--resume", "damaged.safetensors"), "is damaged"),
    "cut off": (("--resume", "short.safetensors"), r"short\.safetensors: "),
    "absent": (("--resume", "absent.safetensors"), "No such file"),
    "not a checkpoint": (("--resume", "run/run.json"), "unknown suffix"),
    "weights as well": (("--resume", "a.pth", "--weights", "b.pth"), "--resume goes on with one"),
}


@pytest.mark.parametrize("case", RESUME_ERRORS)
def test_resume_refuses_another_run(train, stopped, case):
    before = stopped.read_bytes()
    more, message = RESUME_ERRORS[case]
    status, report, err = train("torch", "run", "--resume", "auto", *more)
    assert (status, report) == (2, None)
    assert is_error(err, message)
    assert stopped.read_bytes() == before


def test_a_run_is_never_overwritten(train, stopped):
    before = stopped.read_bytes()
    status, _, err = train("torch", "run")
    assert status == 2
    assert is_error(err, "run: holds a run already; --resume auto goes on with it")
    assert stopped.read_bytes() == before


# Starting from weights


def test_fine_tuning(train, run_script, tmp_path):
    train("torch", "run", "--stop-after", 5)
    last = tmp_path / "run" / "last.safetensors"
    trained = last_of(tmp_path / "run")
    slowly = ("--set", "schedule.learning_rate=1e-30", "--set", "schedule.warmup_epochs=0")
    starts = {"raw": ((), trained.weights), "averaged": (("--ema",), trained.ema)}
    for name, (more, weights) in starts.items():
        command = (name, "--weights", last, *more, *slowly, "--resume", "auto", "--stop-after", 1)
        status, report, _ = train("torch", *command)
        assert (status, report["step"]) == (0, 1)
        state = last_of(tmp_path / name)
        for key in state.slots["momentum"]:
            assert state.weights[key].tobytes() == weights[key].tobytes()
    assert (
        trained.ema["conv_stem.weight"].tobytes() != trained.weights["conv_stem.weight"].tobytes()
    )
    # The same command goes on with what it began.
    status, _, _ = train("torch", *command[:-1], 2)
    assert status == 0
    assert last_of(tmp_path / "averaged").progress.step == 2


def test_the_classes_of_the_data(train, files, tmp_path):
    for split, image in (("train", "{:02d}.png"), ("val", "{:02d}.png")):
        for label in (1, 2, 7):
            place = tmp_path / "three" / split / f"number {label}"
            place.mkdir(parents=True)
            name = image.format(label)
            (place / name).write_bytes((files / "data" / split / str(label) / name).read_bytes())
    three = ("--data", tmp_path / "three", "--set", "epochs=20")
    status, _, err = train("torch", "run", *three)
    assert status == 2
    assert is_error(err, "--classes-from-data gives the net a new classifier")
    status, report, _ = train("torch", "run", *three, "--classes-from-data")
    assert status == 0
    assert report["epochs"] >= 20
    spec = last_of(tmp_path / "run").progress.spec
    assert (spec.num_classes, spec.labels) == (3, ("number 1", "number 2", "number 7"))
    assert log_of(tmp_path / "run", "evaluation")[-1]["images"] == 3


def test_the_recipe_is_changed_on_the_spot(train, tmp_path):
    changes = ("--set", "optimizer.kind=sgd", "--set", "batch_size=4", "--set", "epochs=2")
    status, report, _ = train("torch", "run", *changes)
    assert (status, report["step"]) == (0, 10)
    recipe = last_of(tmp_path / "run").progress.recipe
    assert (recipe.optimizer.kind, recipe.batch_size, recipe.epochs) == ("sgd", 4, 2.0)
    assert list(last_of(tmp_path / "run").slots) == ["momentum"]


# Images


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


# How it is carried out


@pytest.mark.parametrize("framework", TWINS)
def test_a_batch_in_parts(train, framework, tmp_path):
    train(framework, "whole", "--stop-after", 3)
    status, report, _ = train(framework, "parts", "--micro-batch", 4, "--stop-after", 3)
    assert (status, report["step"]) == (0, 3)
    losses = [[x["loss"] for x in log_of(tmp_path / n, "train")] for n in ("whole", "parts")]
    # Batch norm sees other batches, so it is another run, but not by much.
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)
    # 13 images in fours.
    (line,) = log_of(tmp_path / "parts", "evaluation")
    assert line["images"] == VALIDATION_IMAGES
    # More than there are in the batch are all that there are.
    train(framework, "enough", "--micro-batch", 100, "--stop-after", 3)
    expected = (tmp_path / "whole" / "last.safetensors").read_bytes()
    assert (tmp_path / "enough" / "last.safetensors").read_bytes() == expected


@pytest.mark.parametrize(
    ("framework", "precision"),
    [("torch", "bfloat16"), ("torch", "float16"), ("mindspore", "float16")],
)
def test_half_precision(train, framework, precision, tmp_path):
    train(framework, "single", "--stop-after", 3)
    status, _, _ = train(framework, "half", "--precision", precision, "--stop-after", 3)
    assert status == 0
    losses = [[x["loss"] for x in log_of(tmp_path / n, "train")] for n in ("single", "half")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert last_of(tmp_path / "half").progress.loss_scale == (
        65536.0 if precision == "float16" else 1.0
    )


@pytest.mark.parametrize("found", [("--evaluate-every", 100), ("--save-every", 1)])
@pytest.mark.parametrize("framework", TWINS)
def test_what_is_not_finite_ends_the_run(train, framework, found, tmp_path):
    # Found in the loss of a step, or in an evaluation.
    diverging = (
        "--set",
        "optimizer.kind=sgd",
        "--set",
        "schedule.learning_rate=100",
        "--set",
        "schedule.warmup_epochs=0",
        "--set",
        "epochs=100",
    )
    status, report, err = train(framework, "run", *diverging, *found)
    assert (status, report) == (2, None)
    assert is_error(err, r"the (loss is nan|net is not finite \(.*\)) at step \d+ \(epoch .*\): .*")
    last = tmp_path / "run" / "last.safetensors"
    assert err.endswith(f"The last checkpoint is {last}\n")
    step = int(re.search(r"at step (\d+)", err)[1])
    progress = load_training_state(last).progress
    assert 0 < progress.step < step
    assert all(math.isfinite(line["loss"]) for line in log_of(tmp_path / "run"))


# Wrong arguments


ERRORS = {
    "no framework": ({"--framework": None}, "--framework"),
    "framework": ({"--framework": "jax"}, "invalid choice: 'jax'"),
    "no recipe": ({"--recipe": None}, "--recipe"),
    "unknown recipe": ({"--recipe": "imagenet21k"}, "imagenet21k: no such recipe"),
    "recipe": ({"--recipe": "spec.json"}, r"spec\.json: "),
    "no spec": ({"--spec": None}, "--spec is not given, and the recipe short has no default"),
    "no data": ({"--data": None}, "--data is not given, and the recipe short has no default"),
    "unknown spec": ({"--spec": "tinynet_z"}, "tinynet_z: no such spec"),
    "unknown data": ({"--data": "mnist"}, "mnist: no such data"),
    "no train": ({"--data": "data/val"}, "data/val: has no folder train/"),
    "no module": ({"--data": "absent_module:make"}, "absent_module:make: cannot be imported"),
    "no output": ({"--output": None}, "--output"),
    "output is a file": ({"--output": "spec.json"}, r"--output is spec\.json, but .* is no folder"),
    "output in a file": ({"--output": "spec.json/run"}, r"spec\.json is no folder"),
    "output cannot be": ({"--output": "/proc/run"}, "/proc"),
    "change": ({"--set": "epochs"}, 'change "epochs": expected KEY=VALUE'),
    "changed key": ({"--set": "momentum=0.9"}, 'unknown key "momentum"'),
    "changed value": ({"--set": "batch_size=0"}, "batch_size is 0, expected"),
    "device": ({"--device": "tpu"}, "device is 'tpu', expected one of cpu, "),
    "precision": ({"--precision": "int8"}, "invalid choice: 'int8'"),
    "micro-batch": ({"--micro-batch": "3"}, "--micro-batch is 3, expected a divisor of 8"),
    "no micro-batch": ({"--micro-batch": "0"}, '--micro-batch: "0" is not a whole number from 1'),
    "workers": ({"--workers": "-1"}, '--workers: "-1" is not a whole number from 0'),
    "steps": ({"--stop-after": "all"}, '--stop-after: "all" is not a whole number from 1'),
    "seed": ({"--seed": "x"}, "--seed: invalid int value"),
    "averaged weights of nothing": ({"--ema": ()}, "--ema needs --weights"),
    "absent weights": ({"--weights": "absent.pth"}, r"absent\.pth"),
    "weights of another": ({"--weights": "lite.safetensors"}, r"lite\.safetensors"),
    "abbreviation": ({"--prec": "float16"}, "unrecognized arguments: --prec"),
}


@pytest.mark.parametrize("framework", TWINS)
@pytest.mark.parametrize("case", ERRORS)
def test_refuses(run_script, case, framework, files, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    (files / "lite.safetensors").write_bytes(b"no weights")
    changes, message = ERRORS[case]
    good = arguments(framework, files, tmp_path / "run")
    options = dict(zip(good[::2], good[1::2], strict=False))
    options = {key: value for key, value in options.items() if key != "--no-compile"} | changes
    command = []
    for key, value in options.items():
        if value is not None:
            command += [key] if value == () else [key, value]
    status, out, err = run_script("train", *command)
    assert (status, out) == (2, "")
    assert is_error(err, message)
    assert not (tmp_path / "run").exists()


DEVICE_ERRORS = {
    "torch": (("--device", "cuda"), "device cuda cannot be used: "),
    "mindspore": (("--device", "ascend"), "device ascend cannot be used: "),
    "bfloat16": (("--precision", "bfloat16"), "'bfloat16', expected one of float32, float16"),
    "torch tf32": (("--precision", "tf32"), "expected one of float32, bfloat16, float16, float64"),
}


@pytest.mark.parametrize("case", DEVICE_ERRORS)
def test_refuses_what_this_machine_has_not(train, case, tmp_path):
    more, message = DEVICE_ERRORS[case]
    status, _, err = train("torch" if "torch" in case else "mindspore", "run", *more)
    assert status == 2
    assert is_error(err, message)
    assert not (tmp_path / "run").exists()
