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

from tinynet.backend import FRAMEWORKS
from tinynet.recipe import Optimizer, format_recipe
from tinynet.search.leases import STALE_AFTER
from tinynet.spec import format_spec

from containers import CONTAINER, needs_containers
from tiers import only_in_full
from train_runs import RECIPE, SCRIPTS, SPEC, start, write_files

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


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """An undisturbed search and the seconds that it took."""
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    report = finish(begin(files, folder))
    assert (report["models"], report["trainings"]) == (MODELS, MODELS * SEEDS)
    assert report["diverged"] == []
    return folder, time.monotonic() - began


def begin(files, output, *more, framework="torch", inside=()):
    return start(
        *inside,
        sys.executable,
        SCRIPTS / "search.py",
        "--framework",
        framework,
        "--output",
        output,
        "--spec",
        files / "base.json",
        "--recipe",
        files / "recipe.json",
        "--data",
        files / "data",
        "--costs",
        "0.3,0.6",
        "--tolerance",
        "0.2",
        "--models",
        MODELS,
        "--seeds",
        SEEDS,
        "--jobs",
        1,
        "--save-every",
        1,
        "--json",
        *more,
    )


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


@pytest.mark.parametrize("framework", only_in_full(FRAMEWORKS, ("torch",)))
def test_a_training_that_diverges_is_done(framework, files, tmp_path):
    # Weights grow up to a hundredfold a step, until a variance is no float32 any more.
    recipe = dataclasses.replace(RECIPE, optimizer=Optimizer("sgd", momentum=0.9, weight_decay=1))
    (tmp_path / "recipe.json").write_text(format_recipe(recipe))
    more = ("--recipe", tmp_path / "recipe.json", "--set", "schedule.learning_rate=100")
    if framework == "mindspore":
        more = (*more, "--models", 1, "--seeds", 1, "--no-compile")
    output = tmp_path / "search"
    report = finish(begin(files, output, *more, framework=framework))
    results = {name: json.loads(text) for name, text in done(output).items()}
    assert [result["accuracy"] for result in results.values()] == [None] * report["trainings"]
    assert all(0 < result["epochs"] < 4 for result in results.values())
    assert sum(model["diverged"] for model in report["diverged"]) == report["trainings"]
    assert (report["front"], report["curves"]) == ([], None)

    before = done(output)
    process = begin(files, output, *more, framework=framework)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")  # nothing is left, so no progress is told
    assert json.loads(out) == report
    assert done(output) == before


def test_killed_processes_end_with_the_same_table(files, whole, tmp_path):
    (whole, seconds), output = whole, tmp_path / "killed"
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
        # Finished trainings do not change.
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


@pytest.mark.full
@needs_containers
def test_a_host_that_dies_is_followed_by_another(files, whole, tmp_path):
    output, held = tmp_path / "search", []
    while not held:
        process = begin(files, output, inside=CONTAINER)
        while not held_in(output) and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate(timeout=30)
        held = held_in(output)  # none, if it was just done
    (lease,) = held

    process = begin(files, output, inside=CONTAINER)
    deadline = time.monotonic() + 120
    while len(done(output)) < MODELS * SEEDS - 1:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # All but what the dead one holds is done, and that is waited for.
    assert process.poll() is None
    assert held_in(output) == [lease]
    old = time.time() - STALE_AFTER - 1
    os.utime(lease, (old, old))
    finish(process)
    assert collected(output) == collected(whole[0])


def held_in(folder):
    """Returns the leases that are still held."""
    return [path for path in folder.glob("runs/*/claim.*") if path.stat().st_mtime > 0]
