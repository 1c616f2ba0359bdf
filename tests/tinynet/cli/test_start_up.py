import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinynet.checkpoints.files import Checkpoint, save_checkpoint
from tinynet.checkpoints.training_state import initial_training_state, save_training_state
from tinynet.net.initialise import initial_state
from tinynet.recipe import load_recipe
from tinynet.spec import load_spec

ROOT = Path(__file__).parents[3]
SCRIPTS = [path.stem for path in sorted((ROOT / "scripts").glob("[!_]*.py"))]

# Slow to import: whatever stands here cannot be in a command that answers at once.
FRAMEWORKS = ("torch", "mindspore", "onnx", "onnxruntime")
HEAVY = (
    *FRAMEWORKS,
    "PIL",
    "jsonschema",
    "matplotlib",
    "numpy",
    "safetensors",
    "scipy",
    "sklearn",
    "tqdm",
)

# The script in a process of its own; the last line tells which of these modules it loaded.
PROBE = """
import runpy, sys
*modules, script = sys.argv[1].split(",")
sys.argv = [script, *sys.argv[2:]]
sys.path[0] = script.rpartition("/")[0]
try:
    runpy.run_path(script, run_name="__main__")
finally:
    print()
    print("loaded:", *(module for module in modules if module in sys.modules))
"""


def loaded(script, *arguments, modules=HEAVY):
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            PROBE,
            f"{','.join(modules)},{ROOT}/scripts/{script}.py",
            *arguments,
        ],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stderr) == (0, "")
    *output, last = process.stdout.splitlines()
    return "\n".join(output), last.removeprefix("loaded:").split()


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_nothing_heavy(script):
    output, modules = loaded(script, "--help")
    assert output.startswith("usage: ")
    assert modules == []


@pytest.mark.parametrize("arguments", [[], ["tinynet_c"], ["tinynet_c", "--json"]])
def test_summary_imports_no_framework(arguments):
    output, modules = loaded("summary", *arguments, modules=(*FRAMEWORKS, "numpy", "PIL"))
    assert "tinynet_c" in output
    assert modules == []


# Nor what takes most of a second: of the released members nothing is left to be fitted.
@pytest.mark.parametrize("way", [["--macs", "100M"], ["--macs", "100M", "--giant"]])
def test_derive_imports_no_framework(way):
    heavy = (*FRAMEWORKS, "PIL", "matplotlib", "scipy", "sklearn")
    output, modules = loaded("derive", *way, modules=heavy)
    assert "macs" in output
    assert modules == []


# What conversion needs is NumPy and safetensors; jsonschema only for a spec that is not shipped.
NOT_FOR_FILES = tuple(name for name in HEAVY if name not in ("numpy", "safetensors"))


def saved(folder, name):
    spec = load_spec(name)
    path = folder / f"{name}.safetensors"
    save_checkpoint(path, Checkpoint(initial_state(spec, 0), spec))
    return path


def test_converting_safetensors_imports_no_framework(tmp_path):
    source, destination = saved(tmp_path, "tinynet_digits"), tmp_path / "b.safetensors"
    output, modules = loaded(
        "convert", source, destination, "--names", "mindspore", modules=NOT_FOR_FILES
    )
    assert "tinynet_digits" in output
    assert modules == []
    output, modules = loaded("convert", source, modules=NOT_FOR_FILES)
    assert "canonical (timm) names" in output
    assert modules == []
    output, modules = loaded("parity", "compare", source, destination, modules=NOT_FOR_FILES)
    assert "the same model" in output
    assert modules == []


# The largest memory a process ever had; ru_maxrss would count that of the process which made it.
PEAK = """
import atexit, re, runpy, sys
script, report, *arguments = sys.argv[1:]
atexit.register(lambda: open(report, "w").write(
    re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]))
sys.argv = [script, *arguments]
sys.path[0] = script.rpartition("/")[0]
runpy.run_path(script, run_name="__main__")
"""


def peak(folder, *arguments):
    """Bytes that convert.py takes at most."""
    report = folder / "peak"
    command = [sys.executable, "-c", PEAK, f"{ROOT}/scripts/convert.py", report, *arguments]
    subprocess.run(command, check=True, capture_output=True)
    return 1024 * int(report.read_text())


# A law of memory and no timing: what a large file takes over a small one is two tensors, the one
# in hand and what NumPy makes of it.
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("names", [[], ["--names", "mindspore"], None])
def test_converting_safetensors_takes_the_memory_of_two_tensors(tmp_path, names):
    small, large = saved(tmp_path, "tinynet_digits"), saved(tmp_path, "tinynet_a")
    destination = [] if names is None else [tmp_path / "b.safetensors", *names]
    largest = 4 * 1000 * 1280
    assert large.stat().st_size > 4 * largest
    taken = [peak(tmp_path, path, *destination) for path in (small, large)]
    assert taken[1] - taken[0] < 2 * largest


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_training_checkpoint_takes_the_memory_of_two_tensors(tmp_path):
    taken, path = [], tmp_path / "last.safetensors"
    for name in ("tinynet_digits", "tinynet_e"):
        state = initial_training_state(load_spec(name), load_recipe("imagenet"), 0, 100, "00")
        save_training_state(path, state)
        taken.append(peak(tmp_path, path, tmp_path / "b.safetensors"))
        assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()
    largest = 4 * 1000 * 1280
    assert path.stat().st_size > 6 * largest
    assert taken[1] - taken[0] < 2 * largest
