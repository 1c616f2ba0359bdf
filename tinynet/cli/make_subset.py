"""Draws a random part of ImageNet and writes down which images it has."""

from __future__ import annotations

import argparse
import json

from tinynet.cli.command import Parser

DESCRIPTION = """\
Draws classes at random, and training images of each, and writes one file that lists them: data for
train.py and evaluate.py. Nothing is copied. The same seed draws the same images everywhere. All
validation images of the drawn classes are in.

ROOT has train/ and val/ (or validation/), each with a folder of images for every class.
"""

EXAMPLES = """\
examples:
  make_subset.py --data imagenet --output imagenet100.json
                     the paper's ImageNet-100: 100 classes with 500 images each to train on
  make_subset.py --data imagenet --output small.json --classes 10 --per-class 50 --seed 1
  train.py --framework torch --spec tinynet_e --recipe imagenet100 --data imagenet100.json ...
"""


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, draws, writes and reports."""
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tinynet.data.subset import draw_subset, format_subset
    from tinynet.utils.atomic_files import check_destination, write_atomically

    check_destination(options.output)
    subset = draw_subset(options.data, options.classes, options.per_class, options.seed)
    text = format_subset(subset)
    write_atomically(options.output, lambda file: file.write_text(text, encoding="utf-8"))
    report = {
        "output": options.output,
        "seed": subset.seed,
        "classes": len(subset.classes),
        "train": len(subset.train),
        "validation": len(subset.validation),
    }
    if options.json:
        print(json.dumps(report))
        return
    print(
        f"{options.output}: {report['classes']} classes, {report['train']} images to train on, "
        f"{report['validation']} to validate on"
    )


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("--data", required=True, metavar="ROOT", help="the folder of all images")
    parser.add_argument("--output", required=True, metavar="FILE", help="the .json file to write")
    parser.add_argument("--classes", type=int, default=100, metavar="N", help="(default: 100)")
    parser.add_argument(
        "--per-class",
        type=int,
        default=500,
        metavar="N",
        help="images of each class to train on (default: 500)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    options = parser.parse_args(argv)
    if not options.output.endswith(".json"):
        parser.error(f"--output is {options.output}, expected the name of a .json file")
    return options
