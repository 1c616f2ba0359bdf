"""The workload ``convert``: a safetensors file to MindSpore's names, as a whole process."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.net.initialise import initial_state
from tinynet.spec import load_spec

from benchmarks.harness import Contestant, Job, Race
from benchmarks.peers import twin
from benchmarks.processes import process, process_side, script_sides

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


def races(options: argparse.Namespace) -> Iterator[Race]:
    """One race for each spec."""
    for name in options.specs or ["tinynet_a"]:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source.safetensors"
            spec = load_spec(name)
            save_checkpoint(source, Checkpoint(initial_state(spec, 0), spec))
            size, file = source.stat().st_size, {"source": str(source)}
            command = [str(source), f"{folder}/converted.safetensors"]
            sides = script_sides(options.before, "convert.py", [*command, "--names", "mindspore"])
            sides += [
                process_side("load_file, save_file", ["-c", _WITH_SAFETENSORS, *command]),
                Contestant("torch.load, torch.save", torch_conversion, file),
                process_side("import numpy", ["-c", "import numpy"], limit=True),
                Contestant("file read and written", copy, file, limit=True),
            ]
            yield Race(f"convert, {name}, {size / 1e6:.0f} MB", "MB", round(size / 1e6), sides)


def torch_conversion(source: str) -> Job:
    """PyTorch's own files, loaded, renamed and saved by a script of a few lines."""
    twin("torch")
    file = Path(source).with_suffix(".pth")
    save_checkpoint(file, load_checkpoint(source))
    return process(["-c", _WITH_TORCH, str(file), f"{file}.renamed"])


def copy(source: str) -> Job:
    """A file read and written, by a process that runs already."""
    destination = Path(f"{source}.copy")
    return Job(lambda: destination.write_bytes(Path(source).read_bytes()))
