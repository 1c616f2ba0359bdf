"""The benchmark runs and reports; what it measures is for people, and no test depends on it."""

import argparse
import importlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinynet.net.folding import folded_spec
from tinynet.spec import format_spec, load_spec

SCRIPTS = Path(__file__).parents[2] / "scripts"
SMALL = ("--specs", "tinynet_digits", "--batch-sizes", 2, "--rounds", 1)


@pytest.fixture
def race(monkeypatch):
    """The module of races, which lies beside the scripts, of which parity.py hides no package."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(SCRIPTS)])
    return importlib.import_module("benchmarks.harness")


def test_the_training_workload_reports(run_script, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the script sets for its processes
    status, out, err = run_script(
        "benchmark", "train", "--frameworks", "torch", *SMALL, "--report", tmp_path
    )
    assert status == 0, err
    # For people
    assert out.startswith("train, PyTorch, tinynet_digits, batch 2, float32 on cpu\n")
    assert re.search(r"\n  twin +1\.00x +\S+ ms \(\S+ to \S+\) +\S+ images/s\n", out)
    assert "matrix product, as many MACs (limit)" in out
    # For machines
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert report["command"].startswith("python scripts/benchmark.py train --frameworks torch")
    assert report["environment"]["threads"] == "1"
    (found,) = report["races"]
    assert (found["workload"], found["unit"], found["items"]) == ("train", "images", 2)
    sides = {side["name"]: side for side in found["sides"]}
    ours = sides["twin"]
    assert 0 < ours["seconds"]["min"] == ours["seconds"]["median"] == ours["seconds"]["max"]
    assert ours["ratio"] == 1
    assert ours["per_second"] == pytest.approx(2 / ours["seconds"]["median"])
    product = sides["matrix product, as many MACs"]
    assert product["limit"]
    assert product["ratio"] == product["seconds"]["median"] / ours["seconds"]["median"]
    # timm has no net of this name, or is not here.
    assert "timm" in sides["timm"]["unavailable"]
    assert sides["timm"]["ratio"] is None
    page = (tmp_path / "benchmark.html").read_text()
    assert "Left out: timm, " in page
    assert page.count("<rect") == sum(side["unavailable"] is None for side in found["sides"])


@pytest.mark.full
def test_both_steps_of_mindspore_run(run_script, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    status, out, err = run_script("benchmark", "train", "--frameworks", "mindspore", *SMALL)
    assert status == 0, err
    for side in ("twin", "@jit function", "the PyTorch twin"):
        assert re.search(rf"\n  {side} +\d+\.\d\dx", out), side


def names(race):
    return [side["name"] for side in race["sides"]]


@pytest.mark.full
def test_the_inference_workload_reports(run_script, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    status, out, err = run_script("benchmark", "infer", *SMALL, "--json")
    assert status == 0, err
    (found,) = json.loads(out)["races"]
    assert (found["workload"], found["unit"], found["items"]) == ("infer", "images", 2)
    assert found["name"] == "infer, tinynet_digits, batch 2, float32 on cpu"
    assert names(found)[0] == "ONNX Runtime"
    ran = {side["name"] for side in found["sides"] if not side["unavailable"]}
    for framework in ("PyTorch", "MindSpore"):
        assert {f"the {framework} twin", f"the {framework} twin, not folded"} <= ran
    assert {"ONNX Runtime", "ONNX Runtime, INT8"} <= ran
    assert [side["name"] for side in found["sides"] if side["limit"]] == names(found)[-2:]
    absent = {side["name"]: side["unavailable"] for side in found["sides"] if side["unavailable"]}
    # timm has no net of this name, or is not here; OpenVINO need not be.
    assert set(absent) - {"OpenVINO, the same file"} == {
        "timm channels-last",
        "timm",
        "timm, memory as found",
    }
    assert all("timm" in reason or "openvino" in reason for reason in absent.values())


@pytest.mark.full
def test_nets_alone_are_what_is_raced_on_a_device(run_script, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folded = tmp_path / "folded.json"
    folded.write_text(format_spec(folded_spec(load_spec("tinynet_digits"))))
    arguments = ("infer", "--precisions", "bfloat16", "--before", SCRIPTS.parent, *SMALL, "--json")
    status, out, err = run_script("benchmark", *arguments)
    assert status == 0, err
    (found,) = json.loads(out)["races"]
    assert found["name"] == "infer, tinynet_digits, batch 2, bfloat16 on cpu"
    plain = names(found)
    assert plain[:4] == ["twin", "twin before", "twin, contiguous", "twin, not folded"]
    assert all(side["seconds"] for side in found["sides"] if "timm" not in side["name"])
    # What is folded already has no other side.
    status, out, err = run_script("benchmark", *arguments, "--specs", folded)
    assert status == 0, err
    (found,) = json.loads(out)["races"]
    assert names(found) == [name for name in plain if name != "twin, not folded"]


def test_the_conversion_workload_reports(run_script, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ("convert", *SMALL, "--before", SCRIPTS.parent, "--report", tmp_path, "--json")
    status, out, err = run_script("benchmark", *arguments)
    assert status == 0, err
    report = json.loads(out)
    assert report == json.loads((tmp_path / "benchmark.json").read_text())
    (found,) = report["races"]
    assert (found["name"], found["unit"], found["items"]) == (
        "convert, tinynet_digits, 1 MB",
        "MB",
        1,
    )
    ran = [side["name"] for side in found["sides"] if side["unavailable"] is None]
    assert ran == [
        "convert.py",
        "convert.py before",
        "load_file, save_file",
        "torch.load, torch.save",
        "import numpy",
        "file read and written",
    ]


@pytest.mark.full
def test_the_start_up_workload_reports(run_script, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    status, out, err = run_script("benchmark", "startup", "--rounds", 1)
    assert status == 0, err
    assert out.startswith("startup\n  convert.py --help ")
    for side in ("summary.py tinynet_c", "derive.py --macs 100M", "parity.py compare, two"):
        assert re.search(rf"\n  {side}.* +\d+\.\d\dx", out), side
    assert "Python alone (limit)" in out


def test_the_suite_is_run_by_mode_and_only_once(race, tmp_path):
    options = argparse.Namespace(specs=["tinynet_e"], before=tmp_path)
    (race,) = importlib.import_module("benchmarks.suite").races(options)
    assert race.rounds == 1
    assert [side.name for side in race.contestants] == [
        "parity.py --modes pynative",
        "parity.py --modes pynative before",
        "parity.py --modes graph",
        "parity.py --modes graph before",
    ]
    for root, side in zip([SCRIPTS.parent, tmp_path] * 2, race.contestants, strict=True):
        mode = side.name.split()[2]
        assert side.arguments == {
            "command": [f"{root}/scripts/parity.py", "--spec", "tinynet_e", "--modes", mode],
            "needs": "",
            "warm_up": 0,
        }


def test_a_process_that_fails_or_cannot_run_is_no_time(race):
    commands = importlib.import_module("benchmarks.processes")
    with pytest.raises(race.UnavailableError, match="nothing_such is not installed: pip install"):
        commands.process(["-c", "pass"], needs="nothing_such")
    with pytest.raises(subprocess.CalledProcessError):
        commands.process(["-c", "raise SystemExit(1)"]).once()


def test_the_benchmark_refuses(run_script):
    status, out, err = run_script("benchmark", "train", "--specs", "tinynet_z")
    assert (status, out) == (2, "")
    assert err.startswith("error: tinynet_z: no such spec")
    status, _, err = run_script("benchmark", "jax")
    assert status == 2
    assert "jax" in err
    status, _, err = run_script("benchmark", "train", "--frameworks", "jax")
    assert status == 2
    assert "--frameworks has jax, expected torch, mindspore" in err
    status, _, err = run_script("benchmark", "train", "--precisions", "float32,int3")
    assert status == 2
    assert "--precisions has int3, expected float32, tf32, bfloat16, float16" in err
    status, _, err = run_script("benchmark", "train", "--before", "nowhere")
    assert status == 2
    assert "--before is nowhere, expected a checkout of this project" in err
    status, _, err = run_script("benchmark", "infer", "--precisions", "float32,tf32")
    assert (status, err) == (2, "error: --precisions has tf32, which is of --device cuda only\n")
    status, _, err = run_script("benchmark", "train", "--batch-sizes", "8,x")
    assert status == 2
    assert '"x" is not a whole number' in err


def test_sides_run_in_turn_and_in_processes_of_their_own(race, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sides.py").write_text(
        "import os, pathlib, time\n"
        "from benchmarks.harness import Job, UnavailableError\n"
        "def make(name, log, seconds):\n"
        "    def once():\n"
        "        time.sleep(seconds)\n"
        "        with open(log, 'a') as file:\n"
        "            print(name, os.getpid(), os.environ.get('MARK'), file=file)\n"
        "    return Job(once)\n"
        "def none():\n"
        "    raise UnavailableError('not here')\n"
        "def broken():\n"
        "    raise KeyError('broken')\n"
    )
    log = tmp_path / "log"

    def function(name):  # of a module that is there for the contestants only
        return type(name, (), {"__module__": "sides"})

    def side(name, mark):
        arguments = {"name": name, "log": str(log), "seconds": 0.11}
        return race.Contestant(name, function("make"), arguments, {"MARK": mark})

    absent = race.Contestant("c", function("none"), {})
    results = race.run_race(race.Race("r", "jobs", 1, [side("a", "x"), side("b", "y"), absent]), 3)
    assert [len(one.seconds) for one in results] == [3, 3, 0]
    assert all(seconds >= 0.11 for one in results for seconds in one.seconds)
    assert results[2].unavailable == "not here"
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [name for name, _, _ in lines[-6:]] == ["a", "b"] * 3
    assert {(name, mark) for name, _, mark in lines} == {("a", "x"), ("b", "y")}
    assert len({pid for _, pid, _ in lines}) == 2
    with pytest.raises(race.RaceError, match='the process of "d" ended with 1'):
        race.run_race(race.Race("r", "jobs", 1, [race.Contestant("d", function("broken"), {})]), 1)
    assert sys.modules.get("sides") is None


def test_the_data_workload(race, monkeypatch):
    data = importlib.import_module("benchmarks.data")
    monkeypatch.setattr(data, "_LOADED", 16)
    options = argparse.Namespace(specs=["tinynet_e"], before=Path("elsewhere"), disk=[])
    races = [*data.races(options)]
    assert [one.items for one in races] == [21, 21, 16, 16]
    assert all("106 px" in one.name for one in races)
    sides = [side for one in races for side in one.contestants]
    others = [side for side in sides if side.root]
    assert {side.name.rpartition(" ")[2] for side in others} == {"before"}
    # What another checkout is asked for must not need what it may not have.
    assert all(side.arguments.get("engine") is None for side in others)
    images = sorted(Path(sides[0].arguments["folder"]).glob("*/*.jpg"))
    assert len(images) == 21
    for side in sides:
        libraries = {"fast", "simplejpeg"} & {*side.arguments.values()}
        optional = "timm" in side.make.__name__ or libraries
        if not (side.root or optional):
            side.make(**side.arguments).once()


def test_a_disk_is_measured_and_left_as_it_was(run_script, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    disks = [Path("one"), Path("two")]
    for disk in disks:
        disk.mkdir()
    arguments = ("benchmark", "data", "--disk", "one,two", "--files", 20, "--rounds", 2, "--json")
    status, out, err = run_script(*arguments)
    assert status == 0, err
    races = json.loads(out)["races"]
    assert [race["name"] for race in races] == [
        f"20 files of 110 KB from {disk}, {readers}"
        for disk in disks
        for readers in ("1 reader", "8 readers")
    ]
    for race in races:
        assert names(race) == ["archive", "folder"]
        assert (race["unit"], race["items"]) == ("images", 20)
        assert all(side["seconds"]["min"] > 0 for side in race["sides"])
    assert [[*disk.iterdir()] for disk in disks] == [[], []]
    status, _, err = run_script("benchmark", "data", "--disk", "one,none")
    assert status == 2
    assert "--disk has none, expected a folder" in err


def test_reading_from_a_disk_begins_with_a_cold_cache(race, monkeypatch, tmp_path):
    disk = importlib.import_module("benchmarks.disk")
    races = disk.races(argparse.Namespace(disk=[str(tmp_path)], files=3))
    written = next(races)
    forgotten = []
    monkeypatch.setattr(disk, "_forget", forgotten.append)
    for side, paths in zip(written.contestants, (1, 3), strict=True):
        job = disk.reading(**side.arguments)
        assert job.warm_up == 0
        job.prepare()
        assert len(forgotten) == paths
        forgotten.clear()
        job.once()
    image = next(tmp_path.rglob("*.jpg"))
    image.write_bytes(b"short")
    with pytest.raises(ValueError, match="a file has 5 bytes, expected 110000"):
        job.once()
    races.close()
    assert [*tmp_path.iterdir()] == []


def test_a_round_is_prepared_untimed(race):
    done = []
    job = race.Job(lambda: done.append("once"), prepare=lambda: (done.append("x"), time.sleep(0.1)))
    assert race._timed(job, 3) < 0.03
    assert done == ["x", "once", "once", "once"]


def test_a_checkout_from_before_the_rooms_serves_its_own_side(race, tmp_path):
    train = importlib.import_module("benchmarks.train")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "_benchmark_race.py").write_text(
        "import json, sys\n"
        "start = json.loads(input())\n"
        "assert start['make'] == '_benchmark_training:twin_step'\n"
        "assert start['arguments'] == {'batch': 2}\n"
        f"assert start['root'] == {str(tmp_path)!r}\n"
        "print({}, flush=True)\n"
        "for _ in sys.stdin:\n"
        "    print(json.dumps({'seconds': 7.0}), flush=True)\n"
    )
    (_, before) = race.Contestant("twin", train.twin_step, {"batch": 2}).with_before(tmp_path)
    (result,) = race.run_race(race.Race("r", "images", 2, [before]), 3)
    assert (before.name, result.seconds) == ("twin before", (7.0, 7.0, 7.0))
