import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinynet.checkpoints.training_state import initial_training_state
from tinynet.training.checks import TrainingError, check_output, check_same_start
from tinynet.training.evaluation import MetricSums
from tinynet.training.options import Options, Scores
from tinynet.training.run import Run

from training_states import SMALL, recipe

SUMMARY = Path(__file__).parents[3] / "scripts" / "summary.py"


class Report:
    def __init__(self, loss, stop):
        self.numbers = [loss, stop]

    def tolist(self):
        return self.numbers


@pytest.fixture
def state():
    return initial_training_state(SMALL, recipe("sgd", ema=False), 0, 64, "00")


def at(progress, step):
    return dataclasses.replace(progress, step=step)


def options(folder, **more):
    return Options(folder, "cpu", "float32", compiled=False, **more)


# Several processes


@pytest.mark.parametrize("saves", [True, False])
def test_all_processes_stop_behind_the_same_step(saves, state, tmp_path):
    # Process 1 of two is asked to stop; both learn it from what the step reports.
    progress, stopped = state.progress, []
    for rank in (0, 1):
        with Run(options(tmp_path), progress, rank, 2) as run:
            for step in range(1, 10):
                reached = at(progress, step)
                stop = run.step_done(reached, 0.1, Report(2.0, 0.5 if step >= 4 else 0.0), ())
                if saves:
                    run.settle()
                if stop:
                    break
            run.settle()
            stopped.append(run.progress.step)
            # No signal of its own, and not done all the same.
            assert run.outcome().stopped_by == signal.SIGTERM
    assert stopped == [5, 5]


def test_only_the_first_process_writes(state, tmp_path):
    with Run(options(tmp_path / "run"), state.progress, 1, 2) as run:
        run.step_done(at(state.progress, 1), 0.1, Report(2.0, 0.0), ())
        run.settle()
        run.evaluated(Scores(MetricSums(4, 1, 2, 8.0), None))
        run.save(dataclasses.replace(state, progress=run.progress), epoch_ends=True)
    assert list(tmp_path.iterdir()) == []


def test_every_process_names_its_corrupt_images(state, tmp_path, capsys):
    for rank in (0, 1):
        with Run(options(tmp_path), state.progress, rank, 2) as run:
            for step in (1, 2):
                message = f"image {rank}"
                run.step_done(at(state.progress, step), 0.1, Report(2.0, 0.0), (message,))
    assert capsys.readouterr().err == "skipped: image 0\nskipped: image 1\n"


def test_processes_that_start_from_different_places_are_refused(state):
    def start(*all_of_them):
        marks = []
        for progress in all_of_them:
            check_same_start(progress, 1, lambda numbers: marks.append(numbers[0]) or numbers)
        total = np.array([sum(marks)])
        for progress in all_of_them:
            check_same_start(progress, len(all_of_them), lambda numbers: total)

    one = state.progress
    start(one, one, one)
    others = [
        at(one, 1),
        dataclasses.replace(one, seed=1),
        dataclasses.replace(one, data_sha256="01"),
        dataclasses.replace(one, recipe=recipe("rmsprop", ema=True)),
    ]
    for other in others:
        with pytest.raises(TrainingError, match="different checkpoints, data or settings"):
            start(one, other)


# Signals


def test_a_signal_is_asked_for_once_and_echoed(state, tmp_path, monkeypatch):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Run(options(tmp_path), state.progress, 0, 1) as run:
        assert not run.step_done(at(state.progress, 1), 0.1, Report(2.0, 0.0), ())
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.asked_to_stop
        clock[0] += 0.9
        os.kill(os.getpid(), signal.SIGINT)
        assert run.step_done(at(state.progress, 2), 0.1, Report(2.0, 0.0), ())
        assert run.outcome().stopped_by == signal.SIGTERM
        clock[0] += 0.2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match="file"),
        Run(options(tmp_path / "file"), state.progress, 0, 1),
    ):
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_signal_in_the_last_step_leaves_a_run_that_is_done(state, tmp_path):
    with Run(options(tmp_path, stop_after=1), state.progress, 0, 1) as run:
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.step_done(at(state.progress, 1), 0.1, Report(2.0, 0.0), ())
        assert run.outcome().stopped_by == 0


# What is best


def test_an_evaluation_before_its_time_is_not_the_best(state, tmp_path):
    # 64 images, 16 a step: an epoch has four.
    def best_after(step, hits, **more):
        with Run(options(tmp_path, **more), at(state.progress, step), 0, 1) as run:
            return run.evaluated(Scores(MetricSums(10, hits, hits, 8.0), None)).best

    assert best_after(3, 9, stop_after=3) is None
    assert best_after(4, 9).value == 90
    assert best_after(4, 9, evaluate_every=2) is None
    assert best_after(8, 9, evaluate_every=2).step == 8
    last = int(state.progress.recipe.epochs * 4)
    assert best_after(last, 9, evaluate_every=7).step == last


# Places and streams


def test_output_must_be_a_folder_or_become_one(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for good in (tmp_path, tmp_path / "new", tmp_path / "new" / "deep"):
        check_output(good)
    for bad in ("file", "file/run", "nowhere", "nowhere/run"):
        with pytest.raises(TrainingError, match=r"is not a folder$"):
            check_output(tmp_path / bad)
    assert not (tmp_path / "new").exists()


def test_output_must_be_writable(tmp_path, monkeypatch):
    # Permissions do not hold for root, who may run this.
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(TrainingError, match="nothing can be written to"):
        check_output(tmp_path / "run")


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("tinynet_z",), 2)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_change_no_exit_status(closed, arguments, status):
    command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, SUMMARY, *arguments]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == status
    assert "Traceback" not in process.stdout + process.stderr
