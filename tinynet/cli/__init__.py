"""The commands of the program ``tinynet``, one file each.

``tinynet train ...`` and, in a checkout, ``python scripts/train.py ...`` are the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tinynet import __version__
from tinynet.cli.command import Parser, UsageError, run_and_exit

# What a user does -> the commands for it: name, module, what it does. Modules are listed by name:
# a command imports what it needs and nothing else, and parity, which stands above this package, is
# reached from here alone.
COMMANDS = {
    "know and make nets": [
        ("summary", "tinynet.cli.summary", "counts a net: layers, multiply-accumulates, weights"),
        ("derive", "tinynet.cli.derive", "makes a new net: for a budget, or by a twist"),
        ("search", "tinynet.cli.search", "samples nets that cost the same and trains each briefly"),
    ],
    "prepare data, train and evaluate": [
        ("make-subset", "tinynet.cli.make_subset", "draws a random part of ImageNet"),
        ("pack-dataset", "tinynet.cli.pack_dataset", "packs images into two files"),
        ("train", "tinynet.cli.train", "trains a net by a recipe, in either framework"),
        ("evaluate", "tinynet.cli.evaluate", "evaluates weights on labelled images"),
    ],
    "use and deploy weights": [
        ("convert", "tinynet.cli.convert", "converts a checkpoint, or says what one is"),
        ("classify", "tinynet.cli.classify", "says what images show"),
        ("deploy", "tinynet.cli.deploy", "folds batch norm into the convolutions"),
        ("export", "tinynet.cli.export", "exports weights as an ONNX file"),
        ("quantize", "tinynet.cli.quantize", "quantises an ONNX file to INT8"),
    ],
    "prove": [
        ("parity", "parity.cli.run", "proves that the two twins of a spec are the same net"),
        ("demo", "parity.cli.demo", "shows it all on real weights and photographs"),
    ],
}


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Runs a command, by default this process's own words, and exits with its status."""
    run_and_exit(lambda: _run(sys.argv[1:] if words is None else list(words)))


def run_script(file: str) -> NoReturn:
    """Runs the command that the script ``file`` is named after, and exits with its status."""
    script = Path(file).resolve()
    # Python looks in the script's folder first, where parity.py would hide the package.
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != script.parent]
    main([script.stem, *sys.argv[1:]])


def _run(words: list[str]) -> int:
    groups = [
        f"{title}:\n" + "".join(f"  {name:<14}{does}\n" for name, _, does in commands)
        for title, commands in COMMANDS.items()
    ]
    parser = Parser(
        prog="tinynet",
        description="TinyNets from one JSON spec, in PyTorch and in MindSpore.",
        epilog="\n".join([*groups, "Each command has a --help of its own."]),
    )
    parser.add_argument("--version", action="version", version=f"tinynet {__version__}")
    see = "see below"
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, help=see)
    for name, module, _ in (command for group in COMMANDS.values() for command in group):
        # A script's name has an underscore.
        aliases = [name.replace("-", "_")] if "-" in name else []
        parsers.add_parser(name, module=module, aliases=aliases)
    options = parser.parse_args(words, argparse.Namespace(words=words, verb=None))
    if options.verb and options.verb != words[1]:
        raise UsageError(f"{options.verb} stands after {words[1]}, expected it to be the first")
    return options.run(options)
