"""A search whose processes are killed, kill -9, at random moments ends with the same table.

Two processes at a time share its folder. KILL_TRIALS sets how many of them are killed before both
may end.
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

KILLS = int(os.environ.get("KILL_TRIALS", "3"))
MODELS, SEEDS = 6, 2
COLLECTED = ("table.csv", "frontier.json", "report.json")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    files = write_files(tmp_path_factory.mktemp("search"))
    # Stages of two blocks and of channels that can be fewer.
    stages = tuple(dataclasses.replace(s, repeats=2, out_channels=64) for s in SPEC.stages)
    spec = dataclasses.replace(SPEC, stages=stages, name="base")
    (files / "base.json").write_text(format_spec(spec))
    return files


def begin(files, output, *more):
    return start(
        sys.executable, SCRIPTS / "search.py", "--framework", "torch", "--output", output,
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
    return {path.stem: path.read_bytes() for path in (folder / "models").glob("[!.]*.json")}


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
