import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [path.stem for path in sorted((ROOT / "scripts").glob("[!_]*.py"))]

# Slow to import: whatever stands here cannot be in a command that answers at once.
FRAMEWORKS = ("torch", "mindspore", "onnx", "onnxruntime")
HEAVY = (
    *FRAMEWORKS, "PIL", "jsonschema", "matplotlib", "numpy", "safetensors", "scipy", "sklearn",
    "tqdm",
)  # fmt: skip

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
