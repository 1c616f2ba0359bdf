"""The launchers can be started, and ask train.py only for what it has.

Engines and clusters are not here to try them on. What can be held without is their syntax, their
usage, and that none of them names an option or a value that train.py does not know.
"""

import os
import re
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCHERS = sorted((ROOT / "scripts/launch").iterdir())
SHELL = [path for path in LAUNCHERS if path.suffix in (".sh", ".sbatch")]
YAML = [path for path in LAUNCHERS if path.suffix == ".yaml"]

each_launcher = pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.name)
each_shell = pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
each_yaml = pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)

# Options of the engines, which stand in the same lines.
ENGINES = {
    "torchrun": {
        "--standalone",
        "--nproc-per-node",
        "--nnodes",
        "--rdzv-backend",
        "--rdzv-endpoint",
        "--rdzv-id",
        "--max-restarts",
        "--shutdown-timeout",
    },
    "msrun": {
        "--worker_num",
        "--local_worker_num",
        "--node_rank",
        "--master_addr",
        "--master_port",
        "--log_dir",
        "--join",
    },
    "sbatch": {
        "--job-name",
        "--nodes",
        "--ntasks-per-node",
        "--gpus-per-node",
        "--gres",
        "--cpus-per-task",
        "--time",
        "--signal",
        "--requeue",
        "--open-mode",
    },
    "kubectl": {"--filename"},
    "volcano": {"--publish-not-ready-addresses"},
    "pkill": {"--parent"},
}


@cache
def help_of(*command):
    return subprocess.run(
        [sys.executable, *command, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


def test_all_engines_are_there():
    assert {path.stem for path in LAUNCHERS} == {
        "torchrun_node",
        "torchrun_nodes",
        "msrun_node",
        "msrun_nodes",
        "slurm_torch",
        "slurm_mindspore",
        "kubernetes_torch",
        "volcano_mindspore",
    }
    assert len(SHELL) + len(YAML) == len(LAUNCHERS)


@each_launcher
def test_it_names_only_options_that_exist(path):
    known = options(help_of("scripts/train.py")).union(*ENGINES.values())
    assert options(path.read_text()) - known == set()


@each_launcher
def test_it_names_only_values_that_train_py_takes(path):
    from tinynet.recipe import list_recipes
    from tinynet.spec import list_specs

    text = path.read_text()
    for option, known in [
        ("--framework", {"torch", "mindspore"}),
        ("--recipe", list_recipes()),
        ("--spec", list_specs()),
        ("--device", {"cuda", "ascend"}),
    ]:
        assert set(re.findall(rf"{option}[ =](\w+)", text)) <= set(known)
    # The words after a framework's launcher are that framework's.
    assert not ("torch" in path.stem and "ascend" in text)
    assert not ("msrun" in path.stem and "cuda" in text)


@each_launcher
def test_the_page_names_it(path):
    assert f"scripts/launch/{path.name}" in (ROOT / "docs/training.md").read_text()


@each_shell
def test_it_is_well_formed(path):
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert path.stat().st_mode & 0o111
    assert "\nset -euo pipefail\n" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


@each_shell
def test_without_arguments_it_says_how_it_is_used(path):
    answer = subprocess.run([path], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("usage: ")
    assert path.name in answer.stderr


@pytest.mark.parametrize(
    ("name", "missing"), [("torchrun_nodes.sh", "NODES"), ("msrun_nodes.sh", "NODES")]
)
def test_what_is_missing_is_named(name, missing):
    answer = subprocess.run(
        [ROOT / "scripts/launch" / name, "--recipe", "digits"], capture_output=True, text=True
    )
    assert answer.returncode != 0
    assert f"{missing}: how many machines" in answer.stderr


def test_options_of_torchrun_exist():
    used = options((ROOT / "scripts/launch/torchrun_node.sh").read_text()) | options(
        (ROOT / "scripts/launch/torchrun_nodes.sh").read_text()
    )
    known = options(help_of("-m", "torch.distributed.run"))
    assert (used & ENGINES["torchrun"]) - known == set()


def test_options_of_msrun_exist():
    known = options(help_of("-m", "mindspore.parallel.cluster.run"))
    assert ENGINES["msrun"] - known == set()


@each_yaml
def test_it_is_plain_yaml(path):
    # Not a parser, which would be one more dependency: what goes wrong when one is edited by hand.
    lines = path.read_text().splitlines()
    assert [line for line in lines if "\t" in line or line != line.rstrip()] == []
    assert [line for line in lines if (len(line) - len(line.lstrip())) % 2] == []
    for opening, closing in ("{}", "[]"):
        assert path.read_text().count(opening) == path.read_text().count(closing)
    for key in ("apiVersion:", "kind:", "metadata:", "spec:"):
        assert sum(line.startswith(key) for line in lines) == 1


@each_yaml
def test_it_resumes_and_leaves_time_for_a_checkpoint(path):
    text = path.read_text()
    assert "--resume=auto" in text
    grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", text)[1])
    shutdown = re.search(r"--shutdown-timeout=(\d+)", text)
    assert grace >= 60
    assert shutdown is None or int(shutdown[1]) < grace


# Signals


FAKE = f"""#!{sys.executable}
# In place of msrun: says how it was called, and starts a process in a session of its own, as msrun
# does, that ends when it gets SIGTERM. (A shell could not trap what it inherits as ignored.)
import os, pathlib, signal, subprocess, sys, time

folder = pathlib.Path(os.environ["FOLDER"])
if sys.argv[1:] == ["process"]:
    signal.signal(signal.SIGTERM, lambda *_: (folder / "asked").touch() or sys.exit())
    (folder / "ready").touch()
    time.sleep(60)
else:
    (folder / "called").write_text(" ".join(sys.argv[1:]))
    subprocess.run([sys.executable, __file__, "process"], start_new_session=True, check=True)
"""


@pytest.fixture
def fake_msrun(tmp_path, monkeypatch):
    """An msrun that writes its arguments and starts one process that can be asked to stop."""
    program = tmp_path / "msrun"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("FOLDER", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


# Kubernetes asks the launcher alone, SLURM all that it finds.
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["launcher", "job"])
def test_sigterm_reaches_the_processes_that_msrun_started(send, fake_msrun, monkeypatch):
    monkeypatch.setenv("PROCESSES", "2")
    launcher = subprocess.Popen(
        [ROOT / "scripts/launch/msrun_node.sh", "--recipe", "digits", "--device", "cpu"],
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while not (fake_msrun / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    send(launcher.pid, signal.SIGTERM)
    # It ends when msrun does, and that when its process has.
    assert launcher.wait(20) == 0
    assert (fake_msrun / "asked").exists()
    called = (fake_msrun / "called").read_text().split()
    assert called[:4] == ["--worker_num", "2", "--local_worker_num", "2"]
    assert called[-6:] == ["--framework", "mindspore", "--recipe", "digits", "--device", "cpu"]
