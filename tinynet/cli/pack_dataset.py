"""Packs a folder of images into one file for training and one for validation."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tinynet.cli.command import Parser

DESCRIPTION = """\
Packs images into DST/train.zip and DST/val.zip. With DST for --data, every command reads them from
there: the same images in the same order, so that a run which began on the folder goes on. On a
network disk a million files cost a round trip or more each, a file that is open already only that
of the reading. Images are stored as they are, and any ZIP tool unpacks them.

SRC has train/ and val/ (or validation/), each with a folder of images for every class, or is a file
of make_subset.py, whose images are packed; such a packed subset needs --classes-from-data.
"""

EXAMPLES = """\
examples:
  pack_dataset.py imagenet /shared/imagenet
  pack_dataset.py imagenet100.json /shared/imagenet100
  train.py --framework torch --spec tinynet_e --recipe imagenet --data /shared/imagenet ...
  zip -0 -r val.zip val                          without this command: an archive as good

The same images make the same bytes. An archive has its name when all of it is written, so one that
is there is whole. Started again, the command keeps an archive that holds the same images (all are
read, and compared by name, size and CRC-32) and refuses one that holds others, but with --force.
If it was killed, a folder DST/.train.zip.* or DST/.val.zip.* is left, which can be removed.

--json prints source, destination and archives: path, images, bytes, and kept (true if it was there)
of each.
"""


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, packs and reports."""
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tqdm import tqdm

    from tinynet.data.packing import is_packed, list_files, pack

    destination = Path(options.destination)
    splits = list_files(options.source)
    for split in splits:
        if (destination / split).is_dir():
            raise ValueError(
                f"{destination}: has a folder {split}/, which --data would take in the place of "
                f"{split}.zip; name another folder"
            )
    destination.mkdir(parents=True, exist_ok=True)

    def bar(split: str) -> tqdm[Any]:
        total, name = len(splits[split]), f"{split}.zip"
        return tqdm(total=total, desc=name, unit=" images", disable=None, leave=False)

    # All that is there is looked at before hours of packing: it may be refused.
    kept: set[str] = set()
    for split, files in splits.items():
        if not options.force:
            with bar(split) as progress:
                if is_packed(destination / f"{split}.zip", files, progress.update):
                    kept.add(split)
    archives: list[dict[str, Any]] = []
    for split, files in splits.items():
        path = destination / f"{split}.zip"
        if split not in kept:
            with bar(split) as progress:
                pack(path, files, progress.update)
        archives.append(
            {
                "path": str(path),
                "images": len(files),
                "bytes": path.stat().st_size,
                "kept": split in kept,
            }
        )
    report = {"source": options.source, "destination": options.destination, "archives": archives}
    if options.json:
        print(json.dumps(report))
        return
    for one in archives:
        remark = ", kept: it holds these images" if one["kept"] else ""
        print(f"{one['path']}: {one['images']:,} images, {one['bytes'] / 1e6:,.1f} MB{remark}")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("source", metavar="SRC", help="a folder with train/ and val/, or a .json")
    parser.add_argument("destination", metavar="DST", help="the folder for train.zip and val.zip")
    parser.add_argument("--force", action="store_true", help="pack anew whatever is there")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    return parser.parse_args(argv)
