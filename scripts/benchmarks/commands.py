"""The workloads ``convert``, ``startup`` and ``suite``: whole processes, from start to exit."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from tinynet.checkpoints.files import Checkpoint, save_checkpoint
from tinynet.net.initialise import initial_state
from tinynet.spec import load_spec

from benchmarks.harness import Contestant, Job, Race, UnavailableError
from benchmarks.peers import twin

_HERE = "benchmarks.commands"
_ROOT = Path(__file__).resolve().parents[2]

# What people write to rename the tensors of a file; neither checks anything.
_WITH_SAFETENSORS = """
import sys
from safetensors.numpy import load_file, save_file
tensors = load_file(sys.argv[1])
renamed = {name.replace("running_", "moving_"): array for name, array in tensors.items()}
save_file(renamed, sys.argv[2])
"""
_WITH_TORCH = """
import sys, torch
tensors = torch.load(sys.argv[1], weights_only=True)["state_dict"]
renamed = {name.replace("running_", "moving_"): tensor for name, tensor in tensors.items()}
torch.save(renamed, sys.argv[2])
"""


def conversion(options: argparse.Namespace) -> Iterator[Race]:
    """One race for each spec: a safetensors file of its weights, to MindSpore's names."""
    for name in options.specs or ["tinynet_a"]:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source.safetensors"
            spec = load_spec(name)
            save_checkpoint(source, Checkpoint(initial_state(spec, 0), spec))
            size, file = source.stat().st_size, {"source": str(source)}
            command = [str(source), f"{folder}/converted.safetensors"]
            sides = _commands(options, "convert.py", [*command, "--names", "mindspore"])
            sides += [
                _process("load_file, save_file", ["-c", _WITH_SAFETENSORS, *command]),
                Contestant("torch.load, torch.save", f"{_HERE}:torch_conversion", file),
                _process("import numpy", ["-c", "import numpy"], limit=True),
                Contestant("file read and written", f"{_HERE}:copy", file, limit=True),
            ]
            yield Race(f"convert, {name}, {size / 1e6:.0f} MB", "MB", round(size / 1e6), sides)


def startup(options: argparse.Namespace) -> Iterator[Race]:
    """Commands that need no framework, against importing one."""
    with tempfile.TemporaryDirectory() as folder:
        spec, files = load_spec("tinynet_e"), [f"{folder}/a.safetensors", f"{folder}/b.safetensors"]
        for file in files:
            save_checkpoint(file, Checkpoint(initial_state(spec, 0), spec))
        sides = [
            *_commands(options, "convert.py", ["--help"], "--help"),
            *_commands(options, "summary.py", ["tinynet_c"], "tinynet_c"),
            *_commands(options, "derive.py", ["--macs", "100M"], "--macs 100M"),
            *_commands(options, "parity.py", ["compare", *files], "compare, two TinyNet-E"),
        ]
        sides += [
            _process(f"import {module}", ["-c", f"import {module}"], needs=module)
            for module in ("torch", "mindspore", "timm")
        ]
        sides += [
            _process("import numpy", ["-c", "import numpy"], limit=True),
            _process("Python alone", ["-c", "pass"], limit=True),
        ]
        yield Race("startup", "commands", 1, sides)


def suite(options: argparse.Namespace) -> Iterator[Race]:
    """One race for each spec: all checks of the suite, by mode of MindSpore."""
    for name in options.specs or ["tinynet_digits"]:
        load_spec(name)
        sides = [
            side
            for mode in ("pynative", "graph")
            for side in _commands(
                options, "parity.py", ["--spec", name, "--modes", mode], f"--modes {mode}", 0
            )
        ]
        yield Race(f"suite, {name}", "ladders", 1, sides, rounds=1)


def process(command: Sequence[str], needs: str = "", warm_up: int = 2) -> Job:
    """A Python process, from start to exit.

    Args:
        command: what stands behind ``python``.
        needs: a package without which it cannot run.
        warm_up: how often it is run before it is timed.

    Raises:
        UnavailableError: the package is not installed.
    """
    if needs and find_spec(needs) is None:
        raise UnavailableError(f"{needs} is not installed: pip install {needs}")
    whole = [sys.executable, *command]
    nothing = subprocess.DEVNULL
    return Job(
        lambda: subprocess.run(whole, check=True, stdin=nothing, stdout=nothing), warm_up=warm_up
    )


def torch_conversion(source: str) -> Job:
    """PyTorch's own files, loaded, renamed and saved by a script of a few lines."""
    twin("torch")
    from tinynet.checkpoints.files import load_checkpoint

    file = Path(source).with_suffix(".pth")
    save_checkpoint(file, load_checkpoint(source))
    return process(["-c", _WITH_TORCH, str(file), f"{file}.renamed"])


def copy(source: str) -> Job:
    """A file read and written, by a process that runs already."""
    destination = Path(f"{source}.copy")
    return Job(lambda: destination.write_bytes(Path(source).read_bytes()))


def _commands(
    options: argparse.Namespace,
    script: str,
    arguments: Sequence[str],
    shown: str = "",
    warm_up: int = 2,
) -> list[Contestant]:
    # Of this checkout and of the one before.
    name = f"{script} {shown}".strip()
    roots = {name: _ROOT} | ({f"{name} before": options.before.resolve()} if options.before else {})
    return [
        _process(side, [f"{root}/scripts/{script}", *arguments], warm_up=warm_up)
        for side, root in roots.items()
    ]


def _process(
    name: str, command: Sequence[str], needs: str = "", warm_up: int = 2, limit: bool = False
) -> Contestant:
    arguments = {"command": list(command), "needs": needs, "warm_up": warm_up}
    return Contestant(name, f"{_HERE}:process", arguments, limit=limit)
