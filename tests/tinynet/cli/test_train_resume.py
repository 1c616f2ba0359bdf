"""Runs of train.py that stop and go on: with the same bits, in either framework."""

import json

import pytest

from train_runs import (
    ENDS,
    STEPS,
    TWINS,
    folder_of,
    last_of,
    log_of,
)


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
    # Killed in writes: lines after the checkpoint, half a line, temporary folders.
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
