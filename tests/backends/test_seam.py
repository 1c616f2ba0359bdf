"""The seam between the library and a twin: typed, lazy, and without effect on the process."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinynet.backend import FRAMEWORKS, load_backend

ROOT = Path(__file__).parents[2]


def run(*command, **variables):
    """Runs a command in an environment without anybody's tuning; gives what it printed."""
    names = {"ONEDNN_MAX_CPU_ISA", "GLOG_v", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"}
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=clean | {"PYTHONPATH": str(ROOT)} | variables,
    )


# Types

RIGHT = """
from typing import Any
from numpy.typing import NDArray
from tinynet.backend import load_backend
from tinynet.net.manifest import State
from tinynet.spec import Spec

def show(spec: Spec, state: State, images: NDArray[Any]) -> None:
    probe = load_backend("torch").probe
    print(probe.trace(probe.build(spec, state), images)["act1"].output.shape)
"""
# line -> what pyright says of it.
MISTAKES = {
    "load_backend('torch').probe.trcae": 'Cannot access attribute "trcae" for class "Probe"',
    "load_backend('torch').prob.trace": 'Cannot access attribute "prob" for class "Backend"',
    "load_backend('torch').distributed.join('cpu').rnak": 'Cannot access attribute "rnak"',
    "load_backend('torch').predict.set_device(0)": 'Argument of type "Literal[0]" cannot',
    "load_backend('torch').step.TrainStep(1)": 'Argument missing for parameter "group"',
}
MODULES = {
    "model": "Model",
    "step": "Step",
    "distributed": "Distributed",
    "predict": "Predict",
    "export": "Export",
    "native_files": "NativeFiles",
    "tuning": "Tuning",
}


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """Name of a script -> (line, message) of what pyright, in strict mode, says of it."""
    folder = tmp_path_factory.mktemp("typed")
    modules = [f"torch_impl.{name}" for name in (*MODULES, "probe", "probe.operators")]
    imports = [f"import {module}" for module in modules]
    imports += ["from tinynet.backend import probing, protocols"]
    kinds = [f"protocols.{protocol}" for protocol in MODULES.values()]
    kinds += ["probing.Probe", "probing.Operators"]
    fits = [f"a{n}: {kind} = {modules[n]}" for n, kind in enumerate(kinds)]
    misfits = [f"b{n}: {kind} = {modules[n - 1]}" for n, kind in enumerate(kinds)]
    scripts = {
        "right": RIGHT,
        "wrong": "\n".join(["from tinynet.backend import load_backend", *MISTAKES]),
        "fits": "\n".join(imports + fits),
        "misfits": "\n".join(imports + misfits),
    }
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text)
    settings = {"strict": ["."], "extraPaths": [str(ROOT)], "reportUnusedExpression": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    pyright = "import sys; from pyright.cli import main; sys.exit(main(sys.argv[1:]))"
    options = ["--project", folder, "--pythonpath", sys.executable, "--outputjson"]
    done = run(sys.executable, "-c", pyright, *options)
    assert done.stdout, done.stderr
    found = {name: [] for name in scripts}
    for item in json.loads(done.stdout)["generalDiagnostics"]:
        line = item["range"]["start"]["line"]
        found[Path(item["file"]).stem].append((line, item["message"]))
    return found


def test_the_right_spelling_is_no_problem(problems):
    assert problems["right"] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_misspelling_and_a_wrong_argument_are_type_errors(mistake, problems):
    line = 1 + list(MISTAKES).index(mistake)
    found = [message for place, message in problems["wrong"] if place == line]
    assert any(message.startswith(MISTAKES[mistake]) for message in found)


def test_pyright_finds_the_pytorch_twin_to_be_what_the_protocols_say(problems):
    # MindSpore's has the same signatures, by test_laws.py.
    assert problems["fits"] == []
    assert len({line for line, _ in problems["misfits"]}) == len(MODULES) + 2


# Laziness


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_module_is_imported_when_it_is_first_asked_for(framework):
    twin = load_backend(framework)
    assert twin == load_backend(framework)
    assert twin.name == framework
    assert twin.loss.__name__ == f"{framework}_impl.loss"
    for name in ("train", "probing", "_private", "__wrapped__"):
        assert not hasattr(twin, name)
    code = f"import sys; from tinynet.backend import load_backend; load_backend({framework!r})"
    code += f"; print(*(name for name in sys.modules if name.startswith('{framework}_impl')))"
    assert run(sys.executable, "-W", "ignore", "-c", code).stdout.split() == []


# The process

IMPORT = """
import importlib, os, pkgutil
before = dict(os.environ)
import {framework}
known = dict(os.environ)
package = importlib.import_module("{framework}_impl")
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
changed = {{k: v for k, v in os.environ.items() if known.get(k) != v}}
"""
# Blocks of 1 MiB come from mmap, which mallinfo2 counts, unless mallopt has said otherwise.
MAPPED = """
import ctypes
libc = ctypes.CDLL(None)
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
libc.mallinfo2.restype, libc.malloc.restype = Info, ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
def maps():
    before = libc.mallinfo2().hblks
    blocks = [libc.malloc(1 << 26) for _ in range(4)]
    return libc.mallinfo2().hblks - before == 4
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not glibc")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_importing_a_twin_changes_neither_environment_nor_allocator(framework):
    code = MAPPED + IMPORT.format(framework=framework) + "print(changed, maps())"
    done = run(sys.executable, "-W", "ignore", "-c", code)
    assert done.stdout == "{} True\n", done.stderr


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not glibc")
def test_a_process_is_tuned_where_that_is_asked_for():
    code = (
        "from tinynet.backend import load_backend\nimport os\n{}\nload_backend({!r}, tune=True)\n"
    )
    names = ("ONEDNN_MAX_CPU_ISA", "GLOG_v")
    shown = f"print(*map(os.environ.get, {names}))"
    quiet = (sys.executable, "-W", "ignore", "-c")
    assert run(*quiet, code.format("", "mindspore") + shown).stdout == "AVX2 3\n"
    own = {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}
    assert run(*quiet, code.format("", "mindspore") + shown, **own).stdout == "DEFAULT 3\n"
    asked = code.format(MAPPED, "torch") + "print(maps())"
    assert run(*quiet, asked).stdout == "False\n"
    # Who sets the allocator in the environment knows better.
    assert run(*quiet, asked, MALLOC_TRIM_THRESHOLD_="131072").stdout == "True\n"
