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
    ENDS,
    IMAGES,
    RECIPE,
    SPEC,
    STEPS,
    TWINS,
    VALIDATION_IMAGES,
    arguments,
    folder_of,
    is_error,
    last_of,
    log_of,
)


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
