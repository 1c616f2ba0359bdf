"""A run that is killed, kill -9, at any moment goes on and ends as if nothing had happened.

A trial starts a run that writes a checkpoint after every step, kills it at a random moment and
resumes it. KILL_TRIALS sets their number for each framework; to run those of the bar, and see at
which steps they hit:

    KILL_TRIALS=20 python -m pytest -s tests/tinynet/cli/test_kill.py
"""

import os
import signal
import time

import numpy as np
import pytest

from tinynet.checkpoints.training_state import load_training_state

from train_runs import arguments, log_of, script, start, wait_for_steps, write_files

TRIALS = os.environ.get("KILL_TRIALS")
LEFT = ["best.safetensors", "last.safetensors", "log.jsonl", "run.json", "tensorboard"]
STEPS = 100


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("kill"))


def begin(framework, files, output, *more):
    """Starts a run, or goes on with one, as users do: MindSpore compiles."""
    settings = ("--set", "epochs=40", "--evaluate-every", 4, "--save-every", 1)
    compiled = ("--compile",) if framework == "mindspore" else ()
    return start(*script(), *arguments(framework, files, output, *settings, *compiled, *more))


def finish(process):
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


@pytest.mark.parametrize(
    ("framework", "usual"),
    [
        ("torch", 1),
        pytest.param("torch", 3, marks=pytest.mark.full),
        pytest.param("mindspore", 1, marks=pytest.mark.full),
    ],
)
def test_a_killed_run_ends_as_the_same_run(framework, usual, files, tmp_path):
    whole = tmp_path / "whole"
    process = begin(framework, files, whole)
    wait_for_steps(1, process, whole)
    began = time.monotonic()
    wait_for_steps(STEPS, process, whole)
    seconds = time.monotonic() - began
    finish(process)
    losses = [line["loss"] for line in log_of(whole, "train")]

    trials, number = int(TRIALS or usual), 0
    while trials:
        number += 1
        moment = np.random.default_rng(number).uniform(0, seconds)
        output = tmp_path / f"trial{number}"
        process = begin(framework, files, output)
        wait_for_steps(1, process, output)
        time.sleep(moment)
        process.kill()
        process.communicate(timeout=30)
        if process.returncode == 0:
            continue  # quicker than the first one, it was done
        assert process.returncode == -signal.SIGKILL
        trials -= 1
        # What there is, is whole.
        steps = {
            path.stem: load_training_state(path).progress.step
            for path in output.glob("*.safetensors")
        }
        left = sorted(path.name for path in output.iterdir() if path.name not in LEFT)
        print(f"\n{framework}, killed {moment:.3f} s after step 1: {steps}, {left}", end="")

        finish(begin(framework, files, output, "--resume", "auto"))
        for name in ("last.safetensors", "best.safetensors"):
            assert (output / name).read_bytes() == (whole / name).read_bytes()
        lines = log_of(output, "train")
        assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
        assert [line["loss"] for line in lines] == losses
        assert log_of(output, "evaluation") == log_of(whole, "evaluation")
        assert sorted(path.name for path in output.iterdir()) == LEFT
