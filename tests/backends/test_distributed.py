"""Two processes that train together against one that passes the same parts through in turn."""

import json
import os
import signal
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tinynet.backend import load_backend
from tinynet.checkpoints.training_state import initial_training_state
from tinynet.data.loader import load_batches
from tinynet.data.open_data import open_data
from tinynet.data.sources import fingerprint
from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.training.schedule import ema_decay, learning_rate

from train_runs import (
    IMAGES,
    RECIPE,
    SPEC,
    STEPS,
    VALIDATION_IMAGES,
    arguments,
    free_port,
    last_of,
    log_of,
    script,
    start,
    wait_for_steps,
    write_files,
)

# The images of the folder, at a pace that leaves time to send a signal and at none.
DATA_SETS = """
import pathlib, time
import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parent / "data"

class Paced:
    def __init__(self, split, seconds):
        self.paths = sorted((ROOT / split).glob("*/*.png"), key=lambda path: path.name)
        self.seconds = seconds
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, index):
        time.sleep(self.seconds)
        with Image.open(self.paths[index]) as image:
            return np.asarray(image), int(self.paths[index].parent.name)

def slow():
    return Paced("train", 0.06), Paced("val", 0)

def quick():
    return Paced("train", 0), Paced("val", 0)
"""
SLOW, QUICK = ("--data", "paced_digits:slow"), ("--data", "paced_digits:quick")
PARTS = ("--micro-batch", RECIPE.batch_size // 2)

# Both runs are float32; what sets them apart is the order of a few sums over processes and parts.
# Measured: at most 0.7 times the distance of PyTorch's run from float64, 0 for what is trained.
FACTOR = 4


@pytest.fixture
def files(tmp_path, monkeypatch):
    write_files(tmp_path)
    (tmp_path / "paced_digits.py").write_text(DATA_SETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def reference(steps):
    """The state after so many steps of one process with two parts, in PyTorch's float64."""
    twin, data = load_backend("torch"), open_data(QUICK[1], SPEC)
    state = initial_training_state(SPEC, RECIPE, 0, IMAGES, fingerprint(data.train))
    step = twin.step.TrainStep(state, twin.distributed.join("cpu"), 2, "float64")
    batches = load_batches(
        data.train, SPEC, RECIPE, 0, first_step=0, last_step=steps, accumulation=2
    )
    for number in range(steps):
        rate, decay = learning_rate(RECIPE, number, IMAGES), ema_decay(RECIPE.ema, number)
        step(list(islice(batches, 2)), rate, decay)
    return step.read(state.progress)


def groups_of(state):
    """All numbers of a state, by what they are: one float64 vector each."""
    trained = [key for key, entry in manifest(SPEC).items() if entry.role in TRAINED_ROLES]
    groups = {}
    for name, arrays in {"weights": state.weights, "ema": state.ema, **state.slots}.items():
        for kind, keys in (("", trained), (" statistics", arrays.keys() - set(trained))):
            if keys:
                values = [arrays[key].astype(np.float64).ravel() for key in sorted(keys)]
                groups[name + kind] = np.concatenate(values)
    return groups


def assert_within_rounding(found, expected, single, double):
    """Asserts that two states differ by no more than a float32 run and a float64 run do."""
    found, expected, single, double = map(groups_of, (found, expected, single, double))
    assert found.keys() == {
        "weights",
        "weights statistics",
        "ema",
        "ema statistics",
        "mean_square",
        "momentum",
    }
    errors = {}
    for name in double:
        noise = np.linalg.norm(single[name] - double[name])
        errors[name] = np.linalg.norm(found[name] - expected[name]) / noise
    print(errors)
    assert max(errors.values()) <= FACTOR, errors


def assert_same_records(two, one, first):
    """Asserts that the logs tell the same from the step ``first`` on."""
    for kind, fields in {
        "train": ("step", "epoch", "loss", "learning_rate", "skipped"),
        "evaluation": ("step", "images", "top1", "top5", "ema_top1", "ema_top5", "loss"),
    }.items():
        lines, expected = (
            [line for line in log_of(output, kind) if line["step"] >= first]
            for output in (two, one)
        )
        for field in fields:
            # Losses are rounded; an image that counts twice, or not, changes them by 1e-2.
            assert [line[field] for line in lines] == pytest.approx(
                [line[field] for line in expected], rel=1e-4
            )
    assert {line["images"] for line in log_of(two, "evaluation")} == {VALIDATION_IMAGES}


def children_of(pid):
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _parent(entry) == pid
    ]


def _parent(entry):
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def reports_in(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"output"')]


def test_torchrun(run_script, files):
    # A run that is stopped and resumed ends with what one process computes without a stop.
    two, one = files / "two", files / "one"
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *script()[1:],
    ]
    process = start(*launcher, *arguments("torch", files, two, *SLOW, "--json"))
    wait_for_steps(4, process, two)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1  # torchrun's own, for a signal
    (report,) = reports_in(out)
    stopped = last_of(two).progress
    assert 4 <= stopped.step == report["step"] < STEPS
    assert report["stopped_by"] == signal.SIGTERM
    assert not [line for line in err.splitlines() if line.startswith("error")]

    process = start(
        *launcher, *arguments("torch", files, two, *QUICK, "--json"), "--resume", "auto"
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (report,) = reports_in(out)
    assert (report["step"], report["stopped_by"]) == (STEPS, None)
    sessions = json.loads((two / "run.json").read_text())["sessions"]
    assert [session["processes"] for session in sessions] == [2, 2]
    assert sessions[0]["command"].startswith("torchrun scripts/train.py ")
    assert len(list((two / "tensorboard").iterdir())) == 2  # one file a session

    status, _, _ = run_script("train", *arguments("torch", files, one, *QUICK, *PARTS))
    assert status == 0
    assert_same_records(two, one, 1)
    assert last_of(two).progress.step == STEPS
    assert_within_rounding(last_of(two), last_of(one), last_of(one), reference(STEPS))


@pytest.mark.full
def test_msrun(run_script, files):
    # msrun takes its time, so once is all: it goes on with what one process began, and is told to
    # stop.
    two, one = files / "two", files / "one"
    settings = ("--compile", "--json")
    begun = arguments("mindspore", files, two, *QUICK, *PARTS, "--compile", "--stop-after", 2)
    assert run_script("train", *begun)[0] == 0
    logs = files / "logs"
    process = start(
        Path(sys.executable).parent / "msrun",
        "--worker_num=2",
        "--local_worker_num=2",
        f"--master_port={free_port()}",
        "--join=True",
        f"--log_dir={logs}",
        *script()[1:],
        *arguments("mindspore", files, two, *SLOW, *settings),
        "--resume",
        "auto",
    )
    started = []
    try:
        wait_for_steps(6, process, two, 150)
        started = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        # It ends at once and leaves its processes, which learn it from the kernel.
        assert process.wait(timeout=10) == -signal.SIGTERM
        deadline = time.monotonic() + 60
        while not reports_in((logs / "worker_0.log").read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        # Among them one that shows the logs and would never end.
        for pid in started:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.communicate(timeout=30)
    (report,) = reports_in((logs / "worker_0.log").read_text())
    assert reports_in((logs / "worker_1.log").read_text()) == []
    step = last_of(two).progress.step
    assert 6 <= step == report["step"] < STEPS
    assert report["stopped_by"] == signal.SIGTERM
    sessions = json.loads((two / "run.json").read_text())["sessions"]
    assert [session["processes"] for session in sessions] == [1, 2]
    assert sessions[1]["command"].startswith("msrun scripts/train.py ")

    stops = ("--stop-after", step)
    for framework, output in (("mindspore", one), ("torch", files / "torch")):
        compiled = ("--compile",) if framework == "mindspore" else ()
        command = arguments(framework, files, output, *QUICK, *PARTS, *stops, *compiled)
        assert run_script("train", *command)[0] == 0
    double, torch_run = reference(step), last_of(files / "torch")
    assert_within_rounding(last_of(two), last_of(one), torch_run, double)
    assert log_of(two, "evaluation")[1]["step"] == 3
