"""Times the project against what people would otherwise use; the workloads are in benchmarks/."""

import sys
from pathlib import Path

from tinynet.cli.command import run_and_exit

if __name__ == "__main__":
    # The root before this folder, whose parity.py would hide the package parity.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.command import main

    run_and_exit(main)
