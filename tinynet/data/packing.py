"""Writes images, as they are, into ZIP files that :mod:`tinynet.data.archives` reads."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tinynet.data.image_folder import DatasetError, class_folders, images_below
from tinynet.data.subset import TRAIN_FOLDERS, VALIDATION_FOLDERS, read_subset, split_folder
from tinynet.utils.atomic_files import write_atomically

# The first date that a ZIP file can have, so that the bytes do not depend on the time.
_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX, _PLAIN_FILE = 3, 0o100644


class File(NamedTuple):
    """An image to pack: its path, and its name in the archive, with forward slashes."""

    path: str
    name: str


def list_files(source: str | os.PathLike[str]) -> dict[str, list[File]]:
    """Lists the images of a data set, in its order, that go into ``train.zip`` and ``val.zip``.

    Args:
        source: a folder with ``train`` and ``val`` (or ``validation``) in ImageNet's layout, or a
            .json file that ``make_subset.py`` wrote.

    Returns:
        The images of "train" and of "val", named "train/class/image" and so on, so that unpacking
        gives the folder again.

    Raises:
        DatasetError: the folder has another layout, or a name that is not text.
        DocumentError: a .json file that cannot be read.
    """
    if os.fspath(source).endswith(".json"):
        subset = read_subset(source)
        splits = {"train": subset.train, "val": subset.validation}
        found = {
            split: [
                File(f"{subset.root}{os.sep}{image}", f"{split}/{image.partition('/')[2]}")
                for image in images
            ]
            for split, images in splits.items()
        }
    else:
        splits = {"train": TRAIN_FOLDERS, "val": VALIDATION_FOLDERS}
        found = {
            split: _list_folder(split_folder(Path(source), names), split)
            for split, names in splits.items()
        }
    for path, name in (file for files in found.values() for file in files):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DatasetError(
                f"{path!a}: the name is not UTF-8 text, rename the file to pack it"
            ) from None
    return found


def is_packed(
    archive: Path, files: list[File], on_file: Callable[[], object] = lambda: None
) -> bool:
    """Returns whether an archive exists; ``on_file`` is called after each file compared.

    Raises:
        DatasetError: it does not hold just these files, by name, order, size and CRC-32.
        OSError: a file cannot be read.
    """
    if not archive.exists():
        return False
    try:
        with zipfile.ZipFile(archive) as packed:
            found = packed.infolist()
    except OSError:
        raise
    except Exception:  # the library raises many kinds of errors for what is not an archive
        raise _others(archive) from None
    if [info.filename for info in found] != [name for _, name in files]:
        raise _others(archive)
    for info, (path, _) in zip(found, files, strict=True):
        content = Path(path).read_bytes()
        expected = (zipfile.ZIP_STORED, len(content), zlib.crc32(content))
        if (info.compress_type, info.file_size, info.CRC) != expected:
            raise _others(archive)
        on_file()
    return True


def pack(archive: Path, files: list[File], on_file: Callable[[], object] = lambda: None) -> None:
    """Writes or replaces an archive atomically: the same bytes for the same files.

    ``on_file`` is called after each file.

    Raises:
        OSError: a file cannot be read, or the archive not written.
    """

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
            for source, name in files:
                info = zipfile.ZipInfo(name, _DATE)
                info.create_system, info.external_attr = _UNIX, _PLAIN_FILE << 16
                packed.writestr(info, Path(source).read_bytes())
                on_file()

    write_atomically(archive, write)


def _list_folder(root: Path, split: str) -> list[File]:
    files: list[File] = []
    for folder in class_folders(root):
        above = len(str(root / folder)) + 1
        files += [
            File(path, f"{split}/{folder}/{path[above:].replace(os.sep, '/')}")
            for path in images_below(root / folder)
        ]
    return files


def _others(archive: Path) -> DatasetError:
    return DatasetError(
        f"{archive}: is there already and does not hold these images; --force replaces it"
    )
