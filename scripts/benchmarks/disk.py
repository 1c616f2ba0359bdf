"""Reading from a disk: as many files as images, against one archive of them."""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Literal

from tinynet.data.archives import open_archive
from tinynet.data.image_folder import find_images
from tinynet.data.packing import File, pack
from tinynet.spec import load_spec

from benchmarks.harness import Contestant, Job, Race

# About what ImageNet's training images have: 147,897,477,120 bytes of a tar file with 1,281,167.
_SIZE = 110_000
_READERS = (1, 8)


def races(options: argparse.Namespace) -> Iterator[Race]:
    """Random reading from each disk, by one thread and by several.

    What is read is there as long as its races are gone through.
    """
    for disk in options.disk:
        with tempfile.TemporaryDirectory(prefix="tinynet_benchmark_", dir=disk) as root:
            _write(Path(root), options.files)
            yield from _races(disk, root, options.files)


def _races(disk: str, root: str, files: int) -> list[Race]:
    def side(kind: str, readers: int) -> Contestant:
        arguments = {"root": root, "kind": kind, "readers": readers}
        return Contestant(kind, reading, arguments)

    return [
        Race(
            f"{files} files of {_SIZE // 1000} KB from {disk}, {readers} reader"
            + "s" * (readers > 1),
            "images",
            files,
            [side("archive", readers), side("folder", readers)],
        )
        for readers in _READERS
    ]


def reading(root: str, kind: Literal["archive", "folder"], readers: int) -> Job:
    """Every file once, in another random order each time, with none of it in the page cache."""
    spec = load_spec("tinynet_e").with_classes(1, ("noise",))
    folder, archive = Path(root, "train"), Path(root, "train.zip")
    if kind == "archive":
        source, paths = open_archive(archive).labelled(spec), [str(archive)]
    else:
        source = find_images(folder, spec)
        paths = [path for path, _ in source.samples]
    pool = ThreadPoolExecutor(readers)
    rounds = count()
    order = list(range(len(source)))

    def prepare() -> None:
        random.Random(next(rounds)).shuffle(order)
        for path in paths:
            _forget(path)

    def once() -> None:
        for data in pool.map(source.encoded, order):
            if len(data) != _SIZE:
                raise ValueError(f"{root}: a file has {len(data)} bytes, expected {_SIZE}")

    return Job(once, warm_up=0, prepare=prepare)


def _forget(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _write(root: Path, files: int) -> None:
    """Writes noise in files, and in an archive."""
    folder = root / "train" / "noise"
    folder.mkdir(parents=True)
    noise = random.Random(0)
    found: list[File] = []
    for number in range(files):
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(noise.randbytes(_SIZE))
        found.append(File(str(path), f"train/noise/{path.name}"))
    pack(root / "train.zip", found)
    # Only what is on the disk can be forgotten.
    os.sync()
