"""The workload ``suite``: the whole parity suite, by mode of MindSpore."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tinynet.spec import load_spec

from benchmarks.harness import Race
from benchmarks.processes import script_sides


def races(options: argparse.Namespace) -> Iterator[Race]:
    """One race for each spec, of a single round: it takes minutes."""
    for name in options.specs or ["tinynet_digits"]:
        load_spec(name)
        sides = []
        for mode in ("pynative", "graph"):
            arguments = ["--spec", name, "--modes", mode]
            sides += script_sides(options.before, "parity.py", arguments, f"--modes {mode}", 0)
        yield Race(f"suite, {name}", "ladders", 1, sides, rounds=1)
