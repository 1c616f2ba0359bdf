"""Image folders: finds images in ImageNet's layout, ``class/image.jpg``, and labels them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import NoReturn

from PIL import Image

from tinynet.data.labels import wordnet_ids
from tinynet.data.preprocessing import ImageError, load_image
from tinynet.spec import Spec

# Compared in lower case. A file with another ending is not an image and is passed over.
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")


class DatasetError(ValueError):
    """A folder that is not the data set it should be. The message is one line."""


class ClassesError(DatasetError):
    """Class folders that do not fit the classes of the net. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFolder:
    """Labelled image files, a :class:`tinynet.data.sources.Source`.

    ``samples`` holds (path, label) pairs in the order of the data set. ``classes`` are the names
    of the folders of the labels 0, 1, ...
    """

    root: Path
    spec: Spec
    samples: tuple[tuple[str, int], ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> Image.Image:
        return load_image(self.samples[index][0], self.spec.input_size[0])

    def encoded(self, index: int) -> bytes:
        path = self.samples[index][0]
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path takes as long again
                return file.read()
        except OSError as error:
            raise ImageError(f"{path}: cannot be read: {error.strerror}") from None

    def label(self, index: int) -> int:
        return self.samples[index][1]

    def name(self, index: int) -> str:
        return self.samples[index][0]

    def identity(self, index: int) -> str:
        """Returns the path of one image below ``root``, with forward slashes, and its label."""
        path, label = self.samples[index]
        # Not relpath, which takes several times as long, for the million paths of ImageNet. Paths
        # below the root "." do not contain it.
        root = str(self.root)
        start = 0 if root == "." else len(root) if root.endswith(os.sep) else len(root) + 1
        return f"{path[start:].replace(os.sep, '/')} {label}"


def find_images(root: str | os.PathLike[str], spec: Spec) -> ImageFolder:
    """Finds the images of a folder in ImageNet's layout, and labels them for a net.

    Class folders are searched to any depth; samples are sorted by class folder, then by path.
    Files count as images by ``IMAGE_EXTENSIONS``; other files, and all files and folders whose
    name starts with a dot, are ignored.

    The label of a folder is the place of its name in the spec's list of classes: the WordNet ids
    for "imagenet1k", otherwise ``spec.labels`` itself. So a subset of the classes has the right
    labels. If no folder has such a name, there must be exactly ``num_classes`` folders, which are
    numbered in sorted order.

    Raises:
        ClassesError: the folders do not fit the classes of the net.
        DatasetError: naming the folder, what was found in it and what was expected.
    """
    root = Path(root)
    folders = class_folders(root)
    classes = class_names(root, folders, spec)
    places = {name: place for place, name in enumerate(classes)}
    samples: list[tuple[str, int]] = []
    for folder in folders:
        samples.extend((path, places[folder]) for path in images_below(root / folder))
    return ImageFolder(root, spec, tuple(samples), classes)


def class_folders(root: Path) -> list[str]:
    """Returns the names of the class folders in a folder, sorted.

    Raises:
        DatasetError: no such folder, none in it, or images beside them.
    """
    if not root.is_dir():
        found = "not a folder" if root.exists() else "no such folder"
        raise DatasetError(f"{root}: {found}, expected one with a folder of images for each class")
    names = _listed(root)
    refuse_images(root, [name for name in names if is_image(name) and (root / name).is_file()])
    folders = [name for name in names if (root / name).is_dir()]
    if not folders:
        found = "no folders, only other files" if names else "empty folder"
        raise DatasetError(f"{root}: {found}, expected a folder of images for each class")
    return folders


def images_below(folder: Path) -> list[str]:
    """Returns the paths of the images in a class folder, to any depth, sorted.

    Raises:
        DatasetError: there are none.
    """
    paths: list[str] = []
    # Linked folders count, since large data sets are often arranged with links.
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            os.path.join(parent, name)  # noqa: PTH118 - a million Path objects are slow and large
            for name in files
            if is_image(name) and not name.startswith(".")
        ]
    if not paths:
        raise without_images(folder)
    return sorted(paths)


def class_names(root: Path, folders: list[str], spec: Spec) -> tuple[str, ...]:
    """Returns the folder names of all classes of a net, in the order of their labels.

    Args:
        root: what the folders are in, for messages.
        folders: names of the class folders that exist, sorted.
        spec: the net.

    Raises:
        ClassesError: the folders do not fit the classes of the net.
        DatasetError: one could be any of several classes.
    """
    if spec.labels == "imagenet1k":
        known, kind = wordnet_ids(), "WordNet ids of ImageNet's 1000 classes"
    elif isinstance(spec.labels, tuple):
        known, kind = spec.labels, f"names in the labels of {spec.name}"
    else:
        known, kind = (), ""
    unknown = sorted(set(folders) - set(known))
    if not unknown:
        for name in folders:
            if known.count(name) > 1:
                raise DatasetError(
                    f'{root}: the folder "{name}" could be any of {known.count(name)} classes of '
                    f"that name in the labels of {spec.name}"
                )
        return known
    # Where some names are known and some not, a folder is misspelt or foreign: numbering in sorted
    # order would quietly give every image after it a wrong label.
    if len(unknown) < len(folders):
        raise ClassesError(
            f"{root}: {_count(len(unknown), 'class folder')} of {len(folders)} unknown (such as "
            f'"{unknown[0]}"), expected {kind}'
        )
    if len(folders) != spec.num_classes:
        cure = f", or folders named after {kind}" if kind else ""
        raise ClassesError(
            f'{root}: found {_count(len(folders), "class folder")} (such as "{folders[0]}"), '
            f"expected {spec.num_classes}, one for each class of {spec.name}{cure}"
        )
    return tuple(folders)


def is_image(name: str) -> bool:
    """Returns whether a file counts as an image, by ``IMAGE_EXTENSIONS``."""
    return name.lower().endswith(IMAGE_EXTENSIONS)


def refuse_images(root: Path, images: list[str]) -> None:
    """Raises a DatasetError if there are images beside the class folders."""
    if images:
        raise DatasetError(
            f"{root}: holds {_count(len(images), 'image')} outside of any class folder (such as "
            f"{images[0]}), expected a folder of images for each class"
        )


def without_images(folder: Path) -> DatasetError:
    """Returns the error of a class folder that holds no images."""
    return DatasetError(
        f"{folder}: class folder without images (of type {', '.join(IMAGE_EXTENSIONS)})"
    )


def list_images(path: str | os.PathLike[str]) -> list[str]:
    """Lists the images directly in a folder, sorted, by ``IMAGE_EXTENSIONS``; or a file itself.

    Raises:
        DatasetError: no such file or folder, or a folder without images.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [str(path)]
    images = [*filter(is_image, _listed(path))]
    if not images:
        raise DatasetError(f"{path}: folder without images (of type {', '.join(IMAGE_EXTENSIONS)})")
    return [str(path / name) for name in images]


def _listed(folder: Path) -> list[str]:
    # Without what is hidden.
    try:
        return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    raise DatasetError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
