"""Times the project against what people would otherwise use; the workloads are in benchmarks/."""

import sys

from tinynet.cli.command import run_and_exit

if __name__ == "__main__":
    # This folder last: its parity.py would hide the package parity.
    sys.path.append(sys.path.pop(0))
    from benchmarks.command import main

    run_and_exit(main)
