"""Image sources: labelled images before any transform, however they are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from tinynet.data.image_folder import DatasetError
from tinynet.data.preprocessing import ImageError, convert_image, image_mode
from tinynet.spec import Spec
from tinynet.utils.random_numbers import uniform

OnCorrupt = Literal["stop", "skip"]

# Of each of the ten digits the same number: a fifth of the 1,797 images, rounded.
DIGITS_TEST_IMAGES = 36


class Source(Protocol):
    """Labelled images, in an order that never changes.

    ``classes`` are the names of the labels 0, 1, ..., None where they are not known. Sources
    travel to worker processes, so they can be pickled.
    """

    @property
    def classes(self) -> tuple[str, ...] | None: ...

    def __len__(self) -> int: ...

    def image(self, index: int, /) -> Image.Image:
        """Decodes one image to mode "RGB" or "L", as the net's channels ask.

        Raises:
            ImageError: it cannot be decoded, naming it.
        """
        ...

    def encoded(self, index: int, /) -> bytes | None:
        """Returns the bytes of the file of one image; None where images are not in files.

        Raises:
            ImageError: it cannot be read, naming it.
        """
        ...

    def label(self, index: int, /) -> int:
        """Returns the class of one image."""
        ...

    def name(self, index: int, /) -> str:
        """Returns what to call one image in messages."""
        ...

    def identity(self, index: int, /) -> str:
        """Returns what tells one image and its label from others, wherever the data are."""
        ...


class Digits:
    """The handwritten digits of scikit-learn, 8 x 8 pixels: 1,437 to train on, 360 to test.

    The test images, 36 of each digit, are chosen by random numbers of
    :mod:`tinynet.utils.random_numbers`, so the split is the same everywhere and for every seed.
    Brightness 16 of the original becomes 255. The mode of the images is the one that ``spec`` asks.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI Machine Learning
    Repository, 1998), its test set, as ``sklearn.datasets.load_digits`` ships it.
    """

    classes: tuple[str, ...] = tuple("0123456789")

    def __init__(self, split: Literal["train", "test"], spec: Spec):
        # This takes a second to import; worker processes are sent what was made of it.
        from sklearn.datasets import load_digits  # pyright: ignore[reportMissingTypeStubs]

        bunch = cast(Any, load_digits())
        labels = np.asarray(bunch.target, dtype=np.int64)
        order = np.argsort(uniform(labels.shape, "digits", "split"), kind="stable")
        test = np.concatenate(
            [order[labels[order] == digit][:DIGITS_TEST_IMAGES] for digit in range(10)]
        )
        is_test = np.isin(np.arange(len(labels)), test)
        self._places = np.flatnonzero(is_test if split == "test" else ~is_test)
        self._labels = labels[self._places]
        brightness = np.rint(np.asarray(bunch.images)[self._places] * (255 / 16))
        self._pixels = brightness.astype(np.uint8)
        self._mode = image_mode(spec)

    def __len__(self) -> int:
        return len(self._places)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[index]).convert(self._mode)

    def encoded(self, index: int) -> None:
        return None

    def label(self, index: int) -> int:
        return int(self._labels[index])

    def name(self, index: int) -> str:
        return f"digits {self._places[index]}"

    def identity(self, index: int) -> str:
        return f"{self.name(index)} {self.label(index)}"


class PythonSource:
    """Any Python data set: ``dataset[i]`` is an (image, label) pair.

    An image is one of Pillow's, or a uint8 array (H, W), (H, W, 1) or (H, W, 3). Two attributes
    that torchvision's data sets have are used where they exist: ``classes``, the names of the
    classes, and ``targets``, all labels.

    Args:
        dataset: has ``__len__`` and ``__getitem__``; can be pickled, for worker processes.
        spec: the net, for its channels and the number of its classes.
        title: what to call the data set in messages.

    Raises:
        DatasetError: it lacks one of the methods, or has no images.
    """

    def __init__(self, dataset: Any, spec: Spec, title: str = "data set"):
        for method in ("__len__", "__getitem__"):
            if not hasattr(dataset, method):
                raise DatasetError(
                    f"{title}: is a {type(dataset).__name__} without {method}, expected a data "
                    "set with __len__ and __getitem__(index) -> (image, label)"
                )
        if len(dataset) == 0:
            raise DatasetError(f"{title}: has no images")
        names: Any = getattr(dataset, "classes", None)
        self.classes: tuple[str, ...] | None = None if names is None else tuple(map(str, names))
        targets: Any = getattr(dataset, "targets", None)
        self._targets = None if targets is None else np.asarray(targets, dtype=np.int64)
        self._dataset = dataset
        self._spec = spec
        self._title = title
        # The last item, since an image and its label are asked for one after the other.
        self._last: tuple[int, Any, Any] | None = None

    def __len__(self) -> int:
        return len(self._dataset)

    def image(self, index: int) -> Image.Image:
        """Returns one image, converted to the mode of the net.

        Raises:
            ImageError: the data set raised an error for it, or it cannot be decoded.
            DatasetError: the data set returned something other than an image.
        """
        image = _as_image(self._item(index)[0], self.name(index))
        try:
            return convert_image(image, self._spec.input_size[0])
        except ImageError as error:
            raise ImageError(f"{self.name(index)}: {error}") from None

    def encoded(self, index: int) -> None:
        return None

    def label(self, index: int) -> int:
        """Returns the class of one image.

        Raises:
            DatasetError: it is no whole number, or the net has no such class.
        """
        label = self._item(index)[1]
        try:
            number = int(label)
        except (TypeError, ValueError):
            number = None
        if number is None or number != label:
            raise DatasetError(
                f"{self.name(index)}: the label is {_shown(label)}, expected a whole number"
            )
        if not 0 <= number < self._spec.num_classes:
            raise DatasetError(
                f"{self.name(index)}: the label is {number}, expected 0 to "
                f"{self._spec.num_classes - 1}, the classes of {self._spec.name}"
            )
        return number

    def name(self, index: int) -> str:
        return f"{self._title}[{index}]"

    def identity(self, index: int) -> str:
        """Returns the index, with the label where the data set has ``targets``."""
        return str(index) if self._targets is None else f"{index} {self._targets[index]}"

    def _item(self, index: int) -> tuple[Any, Any]:
        # Read and written as one object, so that threads at worst fetch an item twice.
        last = self._last
        if last is not None and last[0] == index:
            return last[1], last[2]
        try:
            item = self._dataset[index]
        except Exception as error:
            # Any error of the user's code, so that the image is named.
            text = " ".join(str(error).split())
            raise ImageError(f"{self.name(index)}: {type(error).__name__}: {text}") from error
        if not isinstance(item, tuple | list) or len(cast("tuple[Any, ...]", item)) != 2:
            raise DatasetError(f"{self.name(index)}: is {_shown(item)}, expected (image, label)")
        image, label = cast("tuple[Any, Any]", item)
        self._last = (index, image, label)
        return image, label


@contextmanager
def naming(source: Source, index: int) -> Generator[None, None, None]:
    """Puts the name of an image before the text of an ImageError."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{source.name(index)}: {error}") from None


def fingerprint(source: Source) -> str:
    """Hashes the names and labels of all images, not their content, to hexadecimal.

    The hash is the same on every machine and wherever the data are, but changes with the data set,
    the order or a label.
    """
    digest = hashlib.sha256()
    for index in range(len(source)):
        # Names of files need not be text; surrogates are what Python makes of other bytes.
        digest.update(source.identity(index).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _as_image(image: Any, name: str) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    found = _shown(image)
    if isinstance(image, np.ndarray):
        array = cast("npt.NDArray[Any]", image)
        shape = array.shape
        if array.dtype == np.uint8 and (
            len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
        ):
            return Image.fromarray(array[:, :, 0] if shape[2:] == (1,) else array)
        found = f"an array of {array.dtype} {shape}"
    raise DatasetError(
        f"{name}: the image is {found}, expected one of Pillow's or an array of uint8 (H, W), "
        "(H, W, 1) or (H, W, 3)"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 else f"a {type(value).__name__}"
