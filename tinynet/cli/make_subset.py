"""Draws classes at random, and training images of each, and writes one file that lists them: data
for `train` and `evaluate`. Nothing is copied. The same seed draws the same images everywhere. All
validation images of the drawn classes are in.

ROOT has train/ and val/ (or validation/), each with a folder of images for every class.

Examples:
  tinynet make-subset --data imagenet --output imagenet100.json
                     the paper's ImageNet-100: 100 classes with 500 images each to train on
  tinynet make-subset --data imagenet --output small.json --classes 10 --per-class 50 --seed 1
  tinynet train --framework torch --spec tinynet_e --recipe imagenet100 --data imagenet100.json ...
"""

from __future__ import annotations

import argparse

from tinynet.cli.command import Parser, UsageError, report
from tinynet.cli.options import add_shared


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--data", required=True, metavar="ROOT", help="the folder of all images")
    add("--output", required=True, metavar="FILE", help="the .json file to write")
    add("--classes", type=int, default=100, metavar="N", help="(default: 100)")
    add("--per-class", type=int, default=500, metavar="N", help="images to train on (default: 500)")
    add("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    add_shared(parser, "--json")


def run(options: argparse.Namespace) -> int:
    if not options.output.endswith(".json"):
        raise UsageError(f"--output is {options.output}, expected the name of a .json file")
    from tinynet.data.subset import draw_subset, format_subset
    from tinynet.utils.atomic_files import check_destination, write_text_atomically

    check_destination(options.output)
    subset = draw_subset(options.data, options.classes, options.per_class, options.seed)
    write_text_atomically(options.output, format_subset(subset))
    counts = {name: len(getattr(subset, name)) for name in ("classes", "train", "validation")}
    line = "{classes} classes, {train} images to train on, {validation} to validate on"
    document = {"output": options.output, "seed": subset.seed, **counts}
    report(options, document, f"{options.output}: {line.format(**counts)}")
    return 0
