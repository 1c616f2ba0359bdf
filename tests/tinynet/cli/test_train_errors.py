"""What train.py refuses, in one line: arguments, devices, runs that are not to be resumed."""

import pytest

from train_runs import (
    TWINS,
    arguments,
    is_error,
    write_files,
)

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
    "output is a file": (
        {"--output": "spec.json"},
        r"--output is spec\.json, but .* is not a folder",
    ),
    "output in a file": ({"--output": "spec.json/run"}, r"spec\.json is not a folder"),
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


# Resuming another run


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
