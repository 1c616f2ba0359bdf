"""The commands of ``tinynet``, one file each.

``tinynet train ...`` and, in a checkout, ``python scripts/train.py ...`` are the same.
"""

from __future__ import annotations

import importlib
import sys

from tinynet.cli.command import run

# Command -> the module whose main(argv) does it. Loaded by name: a command imports what it needs
# and nothing else, and parity, which stands above this package, is reached from here alone.
COMMANDS = {
    "classify": "tinynet.cli.classify",
    "convert": "tinynet.cli.convert",
    "demo": "parity.cli.demo",
    "deploy": "tinynet.cli.deploy",
    "derive": "tinynet.cli.derive",
    "evaluate": "tinynet.cli.evaluate",
    "export": "tinynet.cli.export",
    "make_subset": "tinynet.cli.make_subset",
    "pack_dataset": "tinynet.cli.pack_dataset",
    "parity": "parity.cli.run",
    "quantize": "tinynet.cli.quantize",
    "search": "tinynet.cli.search",
    "summary": "tinynet.cli.summary",
    "train": "tinynet.cli.train",
}


def main(argv: list[str] | None = None) -> None:
    """Runs the command that the first argument names, and exits with its status."""
    argv = sys.argv[1:] if argv is None else argv
    command = importlib.import_module(COMMANDS[argv[0]])
    run(lambda: command.main(argv[1:]))
