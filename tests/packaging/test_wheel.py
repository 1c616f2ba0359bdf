"""The wheel: that it is complete, and that the program works where there is no checkout."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.net.initialise import initial_state
from tinynet.spec import load_spec

ROOT = Path(__file__).parents[2]
PACKAGES = ("tinynet", "torch_impl", "mindspore_impl", "parity")
FRAMEWORKS = ("torch", "mindspore", "onnx", "onnxruntime")
BUILD = (
    "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
)


def build(kind, tree, folder):
    """Builds a distribution of a tree, whose copy is made so that nothing is left in it."""
    command = [sys.executable, "-c", BUILD, f"build_{kind}", folder]
    subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    copy = tmp_path_factory.mktemp("tree") / "tinynet-twins"
    left = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "reports")
    shutil.copytree(ROOT, copy, ignore=left)
    return copy


@pytest.fixture(scope="module")
def sources(tree, tmp_path_factory):
    return build("sdist", tree, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    return build("wheel", tree, tmp_path_factory.mktemp("wheel"))


def contents(wheel):
    """File -> its bytes, without the list of files."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
        return {name: archive.read(name) for name in names}


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel):
    files = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = contents(wheel)
    assert {name: packed[name] for name in packed if ".dist-info/" not in name} == files
    for package in PACKAGES:
        assert f"{package}/py.typed" in packed
    assert len([name for name in packed if name.endswith(".json")]) > 40


def test_the_wheel_says_what_it_is(wheel):
    packed = {name.partition(".dist-info/")[2]: data for name, data in contents(wheel).items()}
    metadata = message_from_string(packed["METADATA"].decode())
    assert (metadata["Name"], metadata["License-Expression"]) == ("tinynet-twins", "Apache-2.0")
    assert packed["licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert packed["entry_points.txt"].decode().split("\n\n")[0].strip() == (
        "[console_scripts]\ntinynet = tinynet.cli:main"
    )
    assert {"torch", "mindspore", "onnx", "demo"} <= {*metadata.get_all("Provides-Extra")}


def test_the_source_distribution_builds_the_same_wheel(sources, wheel, tmp_path):
    with tarfile.open(sources) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert (unpacked / "tests" / "conftest.py").is_file()
    (tmp_path / "wheel").mkdir()
    assert contents(build("wheel", unpacked, tmp_path / "wheel")) == contents(wheel)


# The program, in an empty folder


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A fresh environment with the wheel in it, which sees the third-party packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Of a folder that is named in a .pth file, no .pth file is read: not that of the checkout.
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    return folder


@pytest.fixture
def program(environment, tmp_path, monkeypatch):
    """Runs the program in an empty folder, if wanted with no framework that could be imported."""
    blocked = tmp_path / "blocked"
    for name in FRAMEWORKS:
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text(f"raise ImportError('no {name} here')")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(*words, frameworks=True, status=0):
        command = [environment / "bin" / "tinynet", *map(str, words)]
        settings = {**os.environ, **({} if frameworks else {"PYTHONPATH": str(blocked)})}
        found = subprocess.run(command, capture_output=True, text=True, env=settings)
        assert found.returncode == status, found.stderr
        return found.stdout

    return run


def test_it_is_the_installed_package_that_runs(environment, program):
    code = "import tinynet, parity, torch_impl; print(tinynet.__file__, parity.__file__)"
    python = environment / "bin" / "python"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert all(path.startswith(str(environment)) for path in found.stdout.split())


def test_without_a_framework(program):
    assert "train" in program("--help", frameworks=False)
    assert "--specs" in program("parity", "gate", "--help", frameworks=False)
    report = json.loads(program("summary", "tinynet_c", "--json", frameworks=False))
    assert report["macs"] == 99_536_432
    spec = load_spec("tinynet_digits")
    save_checkpoint("a.safetensors", Checkpoint(initial_state(spec, 0), spec))
    words = ("a.safetensors", "b.safetensors", "--names", "mindspore")
    program("convert", *words, frameworks=False)
    assert load_checkpoint("b.safetensors").layout == "MindSpore names"
    assert "tinynet_digits" in program("derive", "--macs", "1M", "--base", "tinynet_digits")


@pytest.mark.parametrize("framework", ["torch", "mindspore"])
def test_train(framework, program):
    output = program(
        *("train", "--framework", framework, "--recipe", "digits", "--output", "run"),
        *("--stop-after", "3", "--no-compile", "--workers", "0", "--json"),
    )
    assert json.loads(output.splitlines()[-1])["step"] == 3
    (session,) = json.loads(Path("run/run.json").read_text())["sessions"]
    assert session["command"].startswith(f"tinynet train --framework {framework} --recipe digits ")
    assert session["git_commit"] is None


def test_parity_and_its_gate(program):
    run = {"spec", "parameters", "logits"}
    words = ("--spec", "tinynet_digits", "--framework", "torch", "--checks", ",".join(run))
    report = json.loads(program("parity", *words, "--report", "report", "--json"))
    assert report["passed"]
    report = json.loads(Path("report/parity.json").read_text())
    assert report["command"].startswith("tinynet parity --spec tinynet_digits ")
    assert Path("report/parity.html").is_file()
    words = ("--specs", "tinynet_digits", "--from", "report/parity.json", "--json")
    # Checks that were not run fail the gate, and are all that fails it.
    gate = json.loads(program("parity", "gate", *words, frameworks=False, status=1))
    assert not run & {failure["check"] for failure in gate["failures"]}
    assert gate["checks"] == len(run) + len(gate["failures"])
