"""How train.py ends when it is told to, in processes of its own."""

import json
import os
import signal
import time

import pytest

from train_runs import (
    STEPS,
    arguments,
    last_of,
    log_of,
    script,
    start,
    wait_for_steps,
    write_files,
)

# The same images for both, at a pace that leaves time to send a signal.
DATA_SETS = """
import itertools, time
import numpy as np

read = itertools.count()

class Squares:
    def __init__(self, images, seconds, stuck_after=None):
        self.images, self.seconds, self.stuck_after = images, seconds, stuck_after
    def __len__(self):
        return self.images
    def __getitem__(self, index):
        time.sleep(self.seconds if next(read) != self.stuck_after else 100)
        return np.full((16, 16), 10 * index, np.uint8), index % 10

def slow():
    return Squares(20, 0.05), Squares(3, 0)

def quick():
    return Squares(20, 0), Squares(3, 0)

def stuck():
    return Squares(20, 0, stuck_after=16), Squares(3, 0)
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    write_files(tmp_path)
    (tmp_path / "squares_of_stops.py").write_text(DATA_SETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run_until(steps, framework, files, *more, data="slow"):
    """Starts a run and gives it when so many steps are done."""
    output = files / "run"
    command = arguments(
        framework, files, output, "--data", f"squares_of_stops:{data}", "--json", *more
    )
    process = start(*script(), *command)
    wait_for_steps(steps, process, output)
    return process


def ends(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def assert_goes_on(files):
    """Asserts that the stopped run goes on and ends as one that was never stopped.

    In processes of their own, as the run that was stopped: in this one, oneDNN may have chosen
    other instructions before MindSpore's twin capped them, and sums would be rounded otherwise.
    """

    def check(framework):
        for name in ("run", "whole"):
            command = arguments(framework, files, files / name, "--data", "squares_of_stops:quick")
            status, _, err = ends(start(*script(), *command, "--resume", "auto"))
            assert status == 0, err
        run, whole = files / "run", files / "whole"
        for name in ("last.safetensors", "best.safetensors"):
            assert (run / name).read_bytes() == (whole / name).read_bytes()
        assert [line["step"] for line in log_of(run, "train")] == list(range(1, STEPS + 1))

    return check


# MindSpore turns the SIGINT that arrives in one of its operations into a SIGTERM, so both are
# tried at once; test_distributed.py sends it a SIGTERM.
@pytest.mark.parametrize(
    ("framework", "number", "statuses"),
    [
        ("torch", signal.SIGTERM, {143}),
        ("torch", signal.SIGINT, {130}),
        ("mindspore", signal.SIGINT, {130, 143}),
    ],
)
def test_a_signal_ends_the_run_resumably(framework, number, statuses, files, assert_goes_on):
    process = run_until(2, framework, files)
    process.send_signal(number)
    status, out, err = ends(process)
    assert status in statuses
    report = json.loads(out)
    assert report["stopped_by"] == status - 128
    assert "Traceback" not in err
    state = last_of(files / "run")
    assert 2 <= state.progress.step == report["step"] < STEPS
    assert log_of(files / "run")[-1]["step"] == report["step"]
    assert_goes_on(framework)


def test_a_signal_to_all_of_its_processes_ends_the_run_resumably(files, assert_goes_on):
    process = run_until(2, "torch", files, "--workers", "1")
    os.killpg(process.pid, signal.SIGTERM)
    status, out, err = ends(process)
    assert (status, json.loads(out)["stopped_by"]) == (143, signal.SIGTERM)
    assert "error" not in err
    assert 2 <= last_of(files / "run").progress.step < STEPS
    assert_goes_on("torch")


def test_a_second_signal_ends_it_at_once(files):
    process = run_until(2, "torch", files, "--save-every", "1", data="stuck")
    # It is asked before the line of a step is written whether to go on, so it does.
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    status, out, err = ends(process)
    assert time.monotonic() - began < 10
    assert (status, out, err.splitlines()[-1]) == (130, "", "error: interrupted")
    assert last_of(files / "run").progress.step == 2
