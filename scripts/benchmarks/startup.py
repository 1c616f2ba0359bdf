"""The workload ``startup``: commands that need no framework, against importing one."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator

from tinynet.checkpoints.files import Checkpoint, save_checkpoint
from tinynet.net.initialise import initial_state
from tinynet.spec import load_spec

from benchmarks.harness import Race
from benchmarks.processes import process_side, script_sides


def races(options: argparse.Namespace) -> Iterator[Race]:
    """The only race."""
    with tempfile.TemporaryDirectory() as folder:
        spec, files = load_spec("tinynet_e"), [f"{folder}/a.safetensors", f"{folder}/b.safetensors"]
        for file in files:
            save_checkpoint(file, Checkpoint(initial_state(spec, 0), spec))
        commands = [
            ("convert.py", ["--help"], "--help"),
            ("summary.py", ["tinynet_c"], "tinynet_c"),
            ("derive.py", ["--macs", "100M"], "--macs 100M"),
            ("parity.py", ["compare", *files], "compare, two TinyNet-E"),
        ]
        sides = [side for one in commands for side in script_sides(options.before, *one)]
        for module in ("torch", "mindspore", "timm"):
            sides += [process_side(f"import {module}", ["-c", f"import {module}"], needs=module)]
        sides += [
            process_side("import numpy", ["-c", "import numpy"], limit=True),
            process_side("Python alone", ["-c", "pass"], limit=True),
        ]
        yield Race("startup", "commands", 1, sides)
