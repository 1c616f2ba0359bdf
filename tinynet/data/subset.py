"""A random part of ImageNet: a file that lists some classes and some images of them.

Random numbers are keyed by seed and class, so that the same seed draws the same images on every
machine.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, cast

import numpy as np

from tinynet.data.image_folder import DatasetError, ImageFolder, class_folders, images_below
from tinynet.spec import Spec
from tinynet.utils.random_numbers import uniform
from tinynet.utils.strict_json import parse_document, read_text

TRAIN_FOLDERS = ("train",)
VALIDATION_FOLDERS = ("val", "validation")


@dataclasses.dataclass(frozen=True, slots=True)
class Subset:
    """Images of some classes.

    ``root`` is absolute. ``classes`` are folder names, sorted: the place of one is its label.
    ``train`` and ``validation`` are sorted paths below ``root``, with forward slashes:
    ``train/class/.../image``.
    """

    root: str
    seed: int
    per_class: int
    classes: tuple[str, ...]
    train: tuple[str, ...]
    validation: tuple[str, ...]


def split_folder(root: Path, names: tuple[str, ...]) -> Path:
    """Returns the folder of a split below ``root``, which has one of these names.

    Raises:
        DatasetError: no folder has.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    found = "has no folder" if root.is_dir() else "no such folder, expected one with"
    raise DatasetError(f"{root}: {found} {'/ or '.join(names)}/ with a folder for each class")


def draw_subset(root: str | os.PathLike[str], classes: int, per_class: int, seed: int) -> Subset:
    """Draws classes, training images of each, and all their validation images.

    Args:
        root: a folder that has ``train`` and ``val`` (or ``validation``) in ImageNet's layout.
        classes: how many to draw, at least 1.
        per_class: training images to draw of each, at least 1.
        seed: which draw.

    Raises:
        DatasetError: the folder has another layout, fewer classes, or a drawn class has fewer
            images or no validation images.
    """
    root = Path(root)
    train = split_folder(root, TRAIN_FOLDERS)
    validation = split_folder(root, VALIDATION_FOLDERS)
    known = class_folders(train)
    if not 1 <= classes <= len(known):
        raise DatasetError(f"{train}: asked for {classes} of its {len(known)} classes")
    drawn = tuple(sorted(_draw(known, classes, seed, "classes")))
    train_images: list[str] = []
    validation_images: list[str] = []
    for name in drawn:
        if not (validation / name).is_dir():
            raise DatasetError(f"{validation}: has no folder {name}, a class drawn from {train}")
        images = images_below(train / name)
        if not 1 <= per_class <= len(images):
            raise DatasetError(f"{train / name}: asked for {per_class} of its {len(images)} images")
        train_images += sorted(_draw(images, per_class, seed, "images", name))
        validation_images += images_below(validation / name)
    return Subset(
        root=str(root.absolute()),
        seed=seed,
        per_class=per_class,
        classes=drawn,
        train=_below(root, train_images),
        validation=_below(root, validation_images),
    )


def format_subset(subset: Subset) -> str:
    """Formats the subset as JSON text, one image a line."""
    document = {"subset_version": 1} | dataclasses.asdict(subset)
    return json.dumps(document, indent=1) + "\n"


def read_subset(path: str | os.PathLike[str]) -> Subset:
    """Reads a file of :func:`format_subset`.

    Raises:
        DocumentError: the file cannot be read or is not JSON.
        DatasetError: it is not a subset file, or its images are not where it says.
    """
    subset = _parse(parse_document(read_text(path), str(path)), str(path))
    if not Path(subset.root).is_dir():
        raise DatasetError(
            f'{path}: the folder of its images, "root", is {subset.root}, which does not exist here'
        )
    for image in (*subset.train, *subset.validation):
        parts = image.split("/")
        if len(parts) < 3 or parts[1] not in subset.classes:
            raise DatasetError(
                f'{path}: the image "{image}" is in no folder of its classes, expected '
                "split/class/image"
            )
    return subset


def load_subset(path: str | os.PathLike[str], spec: Spec) -> tuple[ImageFolder, ImageFolder, Spec]:
    """Opens a subset file as :func:`read_subset` does.

    Returns:
        The images to train on, those to validate on, and the net with the subset's classes.
    """
    subset = read_subset(path)
    root = Path(subset.root)
    spec = spec.with_classes(len(subset.classes), subset.classes)
    labels = {name: label for label, name in enumerate(subset.classes)}

    def folder(images: tuple[str, ...]) -> ImageFolder:
        samples = ((f"{root}{os.sep}{image}", labels[image.split("/")[1]]) for image in images)
        return ImageFolder(root, spec, tuple(samples), subset.classes)

    return folder(subset.train), folder(subset.validation), spec


def _draw(items: list[str], count: int, *key: int | str) -> list[str]:
    order = np.argsort(uniform((len(items),), *key), kind="stable")
    return [items[place] for place in order[:count]]


def _below(root: Path, paths: list[str]) -> tuple[str, ...]:
    return tuple(Path(os.path.relpath(path, root)).as_posix() for path in paths)


def _parse(document: Any, source: str) -> Subset:
    fields = [field.name for field in dataclasses.fields(Subset)]
    if not isinstance(document, dict) or set(cast("dict[str, Any]", document)) != {
        "subset_version",
        *fields,
    }:
        raise DatasetError(f"{source}: not a subset, expected a file that make_subset.py wrote")
    values = cast("dict[str, Any]", document)
    if values.pop("subset_version") != 1:
        raise DatasetError(f"{source}: another version of subset files, expected version 1")
    for name in ("classes", "train", "validation"):
        items = cast("list[Any]", values[name]) if isinstance(values[name], list) else []
        if not items or not all(isinstance(item, str) for item in items):
            raise DatasetError(f"{source}: {name} is not a list of names, or is empty")
        values[name] = tuple(items)
    if not isinstance(values["root"], str):
        raise DatasetError(f"{source}: root is not text, expected the folder of the images")
    return Subset(**values)
