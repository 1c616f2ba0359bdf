"""What ``--data`` means: opens the images to train on and to validate on by one text."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from tinynet.data.archives import ImageArchive, open_archive
from tinynet.data.image_folder import (
    ClassesError,
    DatasetError,
    ImageFolder,
    class_folders,
    find_images,
)
from tinynet.data.sources import Digits, PythonSource, Source
from tinynet.data.subset import TRAIN_FOLDERS, VALIDATION_FOLDERS, load_subset
from tinynet.spec import Spec

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_SPLITS = (TRAIN_FOLDERS, VALIDATION_FOLDERS)
_CURE = "--classes-from-data gives the net a new classifier for the classes of the data"


class Data(NamedTuple):
    """Images to train on, images to validate on, and the net with the classes they have."""

    train: Source
    validation: Source
    spec: Spec


def open_data(text: str, spec: Spec, classes_from_data: bool = False) -> Data:
    """Opens a data set.

    Args:
        text: one of

            - "digits", which are in scikit-learn;
            - a folder with ``train`` and ``val`` (or ``validation``), each in ImageNet's layout;
              labels as in :func:`tinynet.data.image_folder.find_images`, the same in both. In place
              of a folder there may be an archive, ``train.zip``, with the same images;
            - a .json file that ``make_subset.py`` wrote, whose classes become the net's;
            - "package.module:function": called without arguments, it returns two Python data sets
              for :class:`tinynet.data.sources.PythonSource`, to train on and to validate on.
        spec: the net.
        classes_from_data: give the net the classes of the data instead of its own.

    Raises:
        DatasetError: there is no such data, or it does not fit the net.
        DocumentError: a .json file that cannot be read.
    """
    if text == "digits":
        spec = _with_classes(text, spec, Digits.classes, classes_from_data)
        return Data(Digits("train", spec), Digits("test", spec), spec)
    if text.endswith(".json"):
        return Data(*load_subset(text, spec))
    if _FUNCTION.fullmatch(text) and not Path(text).exists():
        return _open_function(text, spec, classes_from_data)
    if text and Path(text).is_dir():
        return _open_folder(Path(text), spec, classes_from_data)
    raise DatasetError(
        f'{text}: no such data, expected "digits", a folder with train/ and val/ (or train.zip '
        "and val.zip), a .json file of make_subset.py, or package.module:function"
    )


def open_validation(text: str, spec: Spec) -> Source:
    """Opens the images to evaluate a net on, whose classes the data must have.

    Args:
        text: as for :func:`open_data`, whose images to validate on are taken; or a folder that is
            itself in ImageNet's layout, without ``train`` and ``val``, or a .zip file of such.
        spec: the net.

    Raises:
        DatasetError: there is no such data, or it does not fit the net.
        DocumentError: a .json file that cannot be read.
    """
    return _open_both(text, spec)[1]


def open_calibration(text: str, spec: Spec) -> Source:
    """Opens images to calibrate INT8 on as :func:`open_validation` does.

    Where the data set has images to train on, they are these.
    """
    return _open_both(text, spec)[0]


def _open_both(text: str, spec: Spec) -> tuple[Source, Source]:
    # To train on and to validate on; what is itself in ImageNet's layout is both.
    is_no_folder = text == "digits" or text.endswith(".json") or _FUNCTION.fullmatch(text)
    has_splits = all(_find_split(Path(text), names) for names in _SPLITS)
    if not (is_no_folder or has_splits):
        images = _list_images(Path(text))[1](spec)
        return images, images
    data = open_data(text, spec)
    if data.spec.labels != spec.labels:
        raise DatasetError(f"{text}: its classes are not those of {spec.name}")
    return data.train, data.validation


def _find_split(root: Path, names: tuple[str, ...]) -> Path | None:
    """Returns the folder of a split, or where there is none its archive."""
    folders = [root / name for name in names]
    archives = [root / f"{name}.zip" for name in names]
    found = [*filter(Path.is_dir, folders), *filter(Path.is_file, archives)]
    return found[0] if found else None


def _split(root: Path, names: tuple[str, ...]) -> Path:
    found = _find_split(root, names)
    if found is None:
        raise DatasetError(
            f"{root}: has no folder {'/ or '.join(names)}/ with a folder for each class, and no "
            f"{'.zip or '.join(names)}.zip"
        )
    return found


def _list_images(place: Path) -> tuple[list[str], Callable[[Spec], ImageFolder | ImageArchive]]:
    """Returns the class folders of a folder or an archive, and what labels its images."""
    if place.suffix == ".zip" and not place.is_dir():
        archive = open_archive(place)
        return archive.folders, archive.labelled
    return class_folders(place), partial(find_images, place)


def _open_folder(root: Path, spec: Spec, classes_from_data: bool) -> Data:
    train_place = _split(root, TRAIN_FOLDERS)
    validation_place = _split(root, VALIDATION_FOLDERS)
    folders, label_train = _list_images(train_place)
    validation_folders, label_validation = _list_images(validation_place)
    foreign = sorted(set(validation_folders) - set(folders))
    if foreign:
        raise DatasetError(
            f'{validation_place}: has a class folder "{foreign[0]}" that {train_place} has not'
        )
    if classes_from_data:
        spec = spec.with_classes(len(folders), tuple(folders))
    try:
        train = label_train(spec)
    except ClassesError as error:
        raise DatasetError(f"{error}; {_CURE}") from None
    # Labelled by the names of the folders to train on: numbered by itself, a validation folder that
    # lacks a class would give the others wrong labels.
    validation = label_validation(dataclasses.replace(spec, labels=train.classes))
    return Data(train, dataclasses.replace(validation, spec=spec), spec)


def _open_function(text: str, spec: Spec, classes_from_data: bool) -> Data:
    module_name, _, name = text.partition(":")
    # Scripts have their own folder on the path, not the one they are called from.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise DatasetError(f"{text}: cannot be imported: {error}") from None
    if not callable(function):
        raise DatasetError(f"{text}: is a {type(function).__name__}, expected a function")
    result: Any = function()
    found = type(result).__name__
    pair = cast("tuple[Any, ...]", result) if isinstance(result, tuple) else ()
    if len(pair) != 2:
        raise DatasetError(
            f"{text}: returned no pair but {found}, expected two data sets, to train on and to "
            "validate on"
        )
    train, validation = pair
    classes = PythonSource(train, spec, text).classes
    if classes is not None:
        spec = _with_classes(text, spec, classes, classes_from_data)
    elif classes_from_data:
        raise DatasetError(f'{text}: the data set to train on has no attribute "classes"')
    data = Data(
        PythonSource(train, spec, f"{text} train"),
        PythonSource(validation, spec, f"{text} validation"),
        spec,
    )
    if None not in (classes, data.validation.classes) and classes != data.validation.classes:
        raise DatasetError(f"{text}: the classes of training and validation differ")
    return data


def _with_classes(text: str, spec: Spec, classes: tuple[str, ...], from_data: bool) -> Spec:
    if from_data:
        return spec.with_classes(len(classes), classes)
    if len(classes) != spec.num_classes:
        raise DatasetError(
            f"{text}: has {len(classes)} classes, {spec.name} has {spec.num_classes}; {_CURE}"
        )
    return spec
