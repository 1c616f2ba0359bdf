"""Images in a ZIP file: one file to open, where a folder has a million.

An archive has the same images as the folder that was packed, in the same order and with the same
identities, so that a run may change from one to the other.
"""

from __future__ import annotations

import dataclasses
import os
import struct
import weakref
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tinynet.data.image_folder import (
    DatasetError,
    class_names,
    is_image,
    refuse_images,
    without_images,
)
from tinynet.data.preprocessing import ImageError, decode_image
from tinynet.spec import Spec

# The header before an image, which ends with the lengths of a name and of extra fields that follow.
# Source: APPNOTE.TXT of PKWARE, 6.3.10, section 4.3.7.
_HEADER = struct.Struct("<26xHH")
# Bytes that are read together with an image: more than the usual header, name and extra fields.
_USUAL_HEADER = 512
_UTF8, _ENCRYPTED = 0x800, 0x1  # flags of an entry

# Of one image: where its header begins, its bytes, CRC-32, label, and where its name ends in the
# names of all. With their names, ImageNet's take 63 bytes each.
_ENTRY = np.dtype(
    [("offset", "i8"), ("size", "i8"), ("crc", "u4"), ("label", "i4"), ("name_end", "i8")]
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ImageArchive:
    """Labelled images in a ZIP file, a :class:`tinynet.data.sources.Source`.

    ``entries`` has an element of ``_ENTRY`` for each image, ``names`` their paths in the archive,
    concatenated. ``classes`` are the names of the folders of the labels 0, 1, ... It travels to
    other processes as these arrays; each opens the file for itself.
    """

    file: SharedFile
    spec: Spec
    classes: tuple[str, ...]
    entries: npt.NDArray[Any]
    names: bytes

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, index: int) -> Image.Image:
        return decode_image(self.encoded(index), self.name(index), self.spec.input_size[0])

    def encoded(self, index: int) -> bytes:
        entry = self.entries[index]
        offset, size = int(entry["offset"]), int(entry["size"])
        try:
            data = self.file.read(offset, _USUAL_HEADER + size)
            start = _HEADER.size + sum(_HEADER.unpack_from(data.ljust(_HEADER.size, b"\0")))
            missing = start + size - len(data)
            if missing > 0:
                data += self.file.read(offset + len(data), missing)
        except OSError as error:
            raise ImageError(f"{self.name(index)}: cannot be read: {error.strerror}") from None
        image = data[start : start + size]
        if zlib.crc32(image) != entry["crc"]:
            raise ImageError(
                f"{self.name(index)}: is damaged in the archive, or the archive was written to "
                "(the checksum is another)"
            )
        return image

    def label(self, index: int) -> int:
        return int(self.entries["label"][index])

    def name(self, index: int) -> str:
        return f"{self.file.path}{os.sep}{self._path(index)}"

    def identity(self, index: int) -> str:
        return f"{self._path(index)} {self.label(index)}"

    def _path(self, index: int) -> str:
        ends = self.entries["name_end"]
        start = ends[index - 1] if index else 0
        return os.fsdecode(self.names[start : ends[index]])


class SharedFile:
    """A file that each process opens for itself when it first reads, for any of its threads."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    def __reduce__(self) -> tuple[type[SharedFile], tuple[Path]]:
        return SharedFile, (self.path,)

    def read(self, offset: int, length: int) -> bytes:
        """Reads a part of the file; less where it ends.

        Raises:
            OSError: it cannot be read.
        """
        descriptor = self._descriptor
        if descriptor is None:
            # Two threads may both come here; both descriptors are closed with this object.
            descriptor = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, descriptor)
            self._descriptor = descriptor
        data = os.pread(descriptor, length, offset)
        # A signal, or a network disk, may cut a read short.
        while len(data) < length and (
            more := os.pread(descriptor, length - len(data), offset + len(data))
        ):
            data += more
        return data


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """What a ZIP file holds, not yet labelled: by class, the names and entries of its images.

    Both classes and images are sorted by name.
    """

    path: Path
    images: dict[str, list[tuple[str, zipfile.ZipInfo]]]

    @property
    def folders(self) -> list[str]:
        """Returns the names of the class folders, sorted."""
        return list(self.images)

    def labelled(self, spec: Spec) -> ImageArchive:
        """Labels the images for a net, as :func:`tinynet.data.image_folder.find_images` does.

        Raises:
            ClassesError: the folders do not fit the classes of the net.
            DatasetError: a folder could be any of several classes.
        """
        classes = class_names(self.path, self.folders, spec)
        places = {name: place for place, name in enumerate(classes)}
        # A column at a time, which is faster than a row at a time.
        names = [os.fsencode(name) for images in self.images.values() for name, _ in images]
        found = [info for images in self.images.values() for _, info in images]
        count = len(found)
        entries = np.empty(count, _ENTRY)
        entries["offset"] = np.fromiter((info.header_offset for info in found), np.int64, count)
        entries["size"] = np.fromiter((info.compress_size for info in found), np.int64, count)
        entries["crc"] = np.fromiter((info.CRC for info in found), np.uint32, count)
        labels = [places[folder] for folder in self.images]
        entries["label"] = np.repeat(labels, [*map(len, self.images.values())])
        entries["name_end"] = np.cumsum(np.fromiter(map(len, names), np.int64, count))
        return ImageArchive(SharedFile(self.path), spec, classes, entries, b"".join(names))


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """Reads the index of a ZIP file with images in ImageNet's layout: ``class/image.jpg``.

    All of it may lie in one more folder, as in what ``zip -0 -r train.zip train`` makes. Which
    files count, and in which order, is as in :func:`tinynet.data.image_folder.find_images`.

    Args:
        path: the ZIP file, whose images are stored as they are, neither compressed nor encrypted.

    Raises:
        DatasetError: naming the archive, what was found in it and what was expected.
    """
    path = Path(path)
    entries = _without_common_folder(_entries(path))
    if not entries:
        raise DatasetError(f"{path}: empty archive, expected a folder of images for each class")
    images: dict[str, list[tuple[str, zipfile.ZipInfo]]] = {}
    files: list[str] = []
    for name, info in entries.items():
        folder, slash, _ = name.partition("/")
        if not slash:
            files.append(name)
            continue
        of_class = images.setdefault(folder, [])
        if is_image(name):
            of_class.append((name, info))
    refuse_images(path, sorted(filter(is_image, files)))
    if not images:
        raise DatasetError(
            f"{path}: no folders, only other files, expected a folder of images for each class"
        )
    length = path.stat().st_size
    images = dict(sorted(images.items()))
    for folder, of_class in images.items():
        if not of_class:
            raise without_images(path / folder)
        of_class.sort(key=lambda image: image[0])
        for name, info in of_class:
            _check(path, name, info, length)
    return Archive(path, images)


def _entries(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Returns all that is not hidden, by name; of two with one name the later, as when unpacked."""
    try:
        with zipfile.ZipFile(path, metadata_encoding="latin-1") as archive:
            found = archive.infolist()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:
        # Not only BadZipFile: on a damaged index the library raises many kinds of errors.
        raise DatasetError(
            f"{path}: cannot be read as a ZIP file, or was cut short: {error}"
        ) from None
    named = ((_name(info), info) for info in found)
    return {name: info for name, info in named if "/." not in f"/{name}"}


def _name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    if name.isascii():
        return name
    # The bytes of the name, as they are there, are those of the file that was packed.
    return os.fsdecode(name.encode("utf-8" if info.flag_bits & _UTF8 else "latin-1"))


def _without_common_folder(entries: dict[str, zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    tops = {name.partition("/")[0] for name in entries}
    if len(tops) != 1:
        return entries
    top = f"{tops.pop()}/"
    below = {name.removeprefix(top): info for name, info in entries.items() if name != top}
    # With images directly in it, it is a class.
    has_images = any("/" not in name and is_image(name) for name in below)
    return entries if has_images else below


def _check(path: Path, name: str, info: zipfile.ZipInfo, length: int) -> None:
    how = "encrypted" if info.flag_bits & _ENCRYPTED else "compressed"
    if how == "encrypted" or info.compress_type != zipfile.ZIP_STORED:
        raise DatasetError(
            f"{path / name}: is {how}, expected an image that is stored as it is; pack again with "
            "scripts/pack_dataset.py, or with zip -0 -r"
        )
    if not 0 <= info.header_offset <= length - info.compress_size:
        raise DatasetError(
            f"{path / name}: lies outside of the archive, which was cut short or is damaged"
        )
