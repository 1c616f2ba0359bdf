"""Packs images into DST/train.zip and DST/val.zip. With DST for --data, every command reads them
from there: the same images in the same order, so that a run which began on the folder goes on. On a
network disk a million files cost at least a round trip each, a file that is already open only that
of the reading. Images are stored as they are, and any ZIP tool unpacks them.

SRC has train/ and val/ (or validation/), each with a folder of images for every class, or is a file
of `make-subset`, whose images are packed; such a packed subset needs --classes-from-data.

Examples:
  tinynet pack-dataset imagenet /shared/imagenet
  tinynet pack-dataset imagenet100.json /shared/imagenet100
  tinynet train --framework torch --spec tinynet_e --recipe imagenet --data /shared/imagenet ...
  zip -0 -r val.zip val                          without this command: an archive as good

The same images make the same bytes. An archive has its name when all of it is written, so one that
is there is complete. Started again, the command keeps an archive that holds the same images (all
are read, and compared by name, size and CRC-32) and refuses one that holds others, except with
--force. If it was killed, a folder DST/.train.zip.* or DST/.val.zip.* is left; it can be removed.

--json prints source, destination and archives: path, images, bytes, and kept (true if it was there)
of each.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinynet.cli.command import Parser, report
from tinynet.cli.options import add_shared


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("source", metavar="SRC", help="a folder with train/ and val/, or a .json")
    add("destination", metavar="DST", help="the folder for train.zip and val.zip")
    add("--force", action="store_true", help="pack again what is already there")
    add_shared(parser, "--json")


def run(options: argparse.Namespace) -> int:
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

    # Archives that are there are read before hours of packing: they may be refused.
    kept: set[str] = set()
    for split, files in splits.items():
        if not options.force:
            with bar(split) as progress:
                if is_packed(destination / f"{split}.zip", files, progress.update):
                    kept.add(split)
    archives: list[dict[str, Any]] = []
    lines: list[str] = []
    for split, files in splits.items():
        path = destination / f"{split}.zip"
        if split not in kept:
            with bar(split) as progress:
                pack(path, files, progress.update)
        size, there = path.stat().st_size, split in kept
        archives.append({"path": str(path), "images": len(files), "bytes": size, "kept": there})
        remark = ", kept: it holds these images" * there
        lines.append(f"{path}: {len(files):,} images, {size / 1e6:,.1f} MB{remark}")
    document = {"source": options.source, "destination": options.destination, "archives": archives}
    report(options, document, "\n".join(lines))
    return 0
