"""Searches that train: in either twin, and killed, kill -9, at random moments.

Of a killed search two processes at a time share the folder. KILL_TRIALS sets how many of them are
killed before both may end.
"""

import dataclasses
import json
import os
import signal
import sys
import time

import numpy as np
import pytest

from tinynet.spec import format_spec

from train_runs import SCRIPTS, SPEC, start, write_files

KILLS = int(os.environ.get("KILL_TRIALS", "2"))
MODELS, SEEDS = 5, 2
COLLECTED = ("table.csv", "frontier.json", "report.json")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    files = write_files(tmp_path_factory.mktemp("search"))
    # Stages of two blocks and of channels that can be fewer.
    stages = tuple(dataclasses.replace(s, repeats=2, out_channels=64) for s in SPEC.stages)
    spec = dataclasses.replace(SPEC, stages=stages, name="base")
    (files / "base.json").write_text(format_spec(spec))
    return files


def begin(files, output, *more, framework="torch"):
    return start(
        sys.executable, SCRIPTS / "search.py", "--framework", framework, "--output", output,
        "--spec", files / "base.json", "--recipe", files / "recipe.json", "--data", files / "data",
        "--costs", "0.3,0.6", "--tolerance", "0.2", "--models", MODELS, "--seeds", SEEDS,
        "--jobs", 1, "--save-every", 1, "--json", *more,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def collected(folder):
    return [(folder / name).read_bytes() for name in COLLECTED]


def done(folder):
    paths = sorted((folder / "models").glob("[!.]*.json"))
    return {path.stem: path.read_bytes() for path in paths}


def test_in_mindspore(files, tmp_path):
    more = ("--costs", "0.3", "--models", 1, "--seeds", 1, "--no-compile")
    report = finish(begin(files, tmp_path / "search", *more, framework="mindspore"))
    assert (report["models"], report["trainings"]) == (1, 1)
    (text,) = done(tmp_path / "search").values()
    result = json.loads(text)
    assert (result["framework"], result["recipe"]) == ("mindspore", "short")
    assert (result["name"], result["epochs"]) == ("base-0-0", 4.0)
    assert 0 <= result["accuracy"] <= 100


def test_killed_processes_end_with_the_same_table(files, tmp_path):
    whole, output = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    report = finish(begin(files, whole))
    seconds = time.monotonic() - began
    assert (report["models"], report["trainings"]) == (MODELS, MODELS * SEEDS)

    draw = np.random.default_rng(0)
    processes = [begin(files, output), begin(files, output)]
    kills, before = 0, {}
    while kills < KILLS:
        time.sleep(draw.uniform(0.1, 0.5) * seconds)
        victim = processes.pop(0)
        victim.kill()
        _, err = victim.communicate(timeout=30)
        if victim.returncode == 0:
            break  # quicker than the first one, everything was done
        assert victim.returncode == -signal.SIGKILL
        now = done(output)
        print(
            f"\n{len(now)} of {MODELS * SEEDS} trainings done at a kill; {err.split(chr(10))[:1]}"
        )
        # What was done stays as it was.
        assert {name: now[name] for name in before} == before
        before = now
        kills += 1
        processes.append(begin(files, output))
    assert kills > 0
    for process in processes:
        finish(process)
    assert collected(output) == collected(whole)
    assert {name: now for name, now in done(output).items() if name in before} == before
    assert list((output / "runs").iterdir()) == []
    assert sorted(done(output)) == sorted(done(whole))
