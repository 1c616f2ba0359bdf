"""What the suite runs on: pixels, labels, weights and photographs, the same on every machine."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinynet.backend import Backend
from tinynet.checkpoints.training_state import TrainingState, initial_training_state
from tinynet.data.preprocessing import image_mode
from tinynet.net.folding import fold_batch_norm
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import State, manifest
from tinynet.recipe import Recipe
from tinynet.spec import BatchNorm, Spec
from tinynet.utils.random_numbers import Key, uniform

Array = NDArray[Any]

# Of a net whose own is folded away. Source: all shipped specs but EfficientNet-Lite0.
USUAL_BATCH_NORM = BatchNorm(eps=1e-5, momentum=0.1)

# Package -> photographs inside it. scikit-learn is always there, scikit-image may be.
PHOTOGRAPHS = {
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "skimage": (
        "data/astronaut.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/motorcycle_left.png",
        "data/rocket.jpg",
    ),
}


def pixels(spec: Spec, count: int, seed: int) -> NDArray[np.float32]:
    """Draws normalised pixels (count, C, H, W): structure at two coarse scales, and texture.

    The texture matters: in large flat areas every rounding goes the same way, and a batch norm
    that sums in float32 without compensation (MindSpore's on CPU) drifts 20 times farther.
    """
    image, settings = _brightness((count, *spec.input_size), seed, "pixels"), spec.preprocessing
    mean, std = np.array((settings.mean, settings.std))[:, :, None, None]
    return ((image - mean) / std).astype(np.float32)


class TrainingImages:
    """A few labelled images to train on, made and not read: a :class:`tinynet.data.sources.Source`.

    They are a sixth larger than the net's input, so that crops move.

    Raises:
        SpecError: the spec has not 1 or 3 input channels.
    """

    classes: tuple[str, ...] | None = None

    def __init__(self, spec: Spec, count: int, seed: int):
        self._mode = image_mode(spec)
        channels, height, width = spec.input_size
        shape = (count, channels, height + height // 6 + 1, width + width // 6 + 1)
        brightness = np.rint(255 * _brightness(shape, seed, "training images")).astype(np.uint8)
        # Grey images have two axes in Pillow.
        axes = () if channels > 1 else 3
        self._pixels = brightness.transpose(0, 2, 3, 1).squeeze(axis=axes)
        self._labels = labels(spec, count, seed)

    def __len__(self) -> int:
        return len(self._labels)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[index]).convert(self._mode)

    def encoded(self, index: int) -> None:
        return None

    def label(self, index: int) -> int:
        return int(self._labels[index])

    def name(self, index: int) -> str:
        return f"made image {index}"

    def identity(self, index: int) -> str:
        return f"{self.name(index)} {self.label(index)}"


def _brightness(shape: tuple[int, int, int, int], *key: Key) -> NDArray[np.float64]:
    # From 0 to 1, (N, C, H, W).
    count, channels, height, width = shape
    image = np.zeros(shape)
    for cells, weight in ((3, 0.2), (11, 0.2), (max(height, width), 0.6)):
        rows = np.arange(height) * min(cells, height) // height
        columns = np.arange(width) * min(cells, width) // width
        grid = uniform((count, channels, min(cells, height), min(cells, width)), *key, cells)
        image += weight * grid[:, :, rows[:, None], columns[None, :]]
    return image


def jitter(images: NDArray[np.float32], sample: int, seed: int) -> NDArray[np.float32]:
    """Returns the same pixels, each moved by up to one float32 rounding; sample 0 is not moved."""
    return images if sample == 0 else moved(images, seed, "jitter", sample)


def moved(values: NDArray[np.float32], *key: Key) -> NDArray[np.float32]:
    """Returns numbers, each moved by up to one float32 rounding; ``key`` names the random ones."""
    shift = 2.0 * uniform(values.shape, *key) - 1.0
    return (values * (1.0 + 2.0**-24 * shift)).astype(np.float32)


def labels(spec: Spec, count: int, seed: int) -> NDArray[np.int64]:
    """Draws class indices (count,)."""
    return np.floor(uniform((count,), seed, "labels") * spec.num_classes).astype(np.int64)


def sample_state(
    spec: Spec, seed: int, twin: Backend, precision: str = "float64", device: str = "cpu"
) -> State:
    """Makes a state with nothing trivial in it, for a spec that has no trained weights.

    Initial weights, but for scales and biases drawn at random and for batch-norm statistics
    measured on a batch, as training would leave them. Without measured statistics activations
    grow from block to block and *both* frameworks lose digits.

    The statistics are measured by ``twin``, in the precision and on the device.
    """
    if spec.batch_norm is None:
        # As it is made: a net with batch norm, folded.
        net = dataclasses.replace(spec, batch_norm=USUAL_BATCH_NORM)
        return fold_batch_norm(net, sample_state(net, seed, twin, precision, device))[1]
    state = initial_state(spec, seed)
    for key, entry in manifest(spec).items():
        noise = uniform(entry.shape, seed, "sample", key) - 0.5
        if entry.role == "bn_weight":
            state[key] = (1.0 + 0.5 * noise).astype(np.float32)
        elif entry.role in ("bn_bias", "conv_bias", "linear_bias"):
            state[key] = (0.5 * noise).astype(np.float32)
    images = pixels(spec, 4, seed)
    net = twin.probe.build(spec, state, precision, device=device)
    moved = twin.probe.gradients(net, images, labels(spec, 4, seed)).statistics
    momentum = spec.batch_norm.momentum
    for key, value in moved.items():
        # The step moved each statistic from old towards the batch's by the momentum.
        batch = state[key] + (value - state[key]) / momentum
        if key.endswith(".running_var"):
            # A channel that never varies would be divided by the root of eps alone.
            batch = np.maximum(batch, 1e-2 * batch.mean())
        state[key] = batch.astype(np.float32)
    return state


def training_state(spec: Spec, recipe: Recipe, weights: State) -> TrainingState:
    """Makes a run under way with nothing trivial in it: averages off the weights, full slots."""
    start = initial_training_state(spec, recipe, 0, 1, "", weights)

    def drawn(array: Array, low: float, high: float, *key: Key) -> Array:
        return (low + (high - low) * uniform(array.shape, *key)).astype(np.float32)

    averages = start.ema and {
        key: (array * (0.9 + 0.2 * uniform(array.shape, "average", key))).astype(np.float32)
        for key, array in start.ema.items()
    }
    slots: dict[str, State] = {}
    for slot, arrays in start.slots.items():
        # Mean squares are positive, momenta small and of either sign.
        low, high = (0.001, 0.1) if slot == "mean_square" else (-0.01, 0.01)
        slots[slot] = {n: drawn(array, low, high, slot, n) for n, array in arrays.items()}
    return dataclasses.replace(start, ema=averages, slots=slots)


def photographs() -> list[Path]:
    """Lists real photographs that ship inside installed packages, in a fixed order.

    The packages are found without being imported.
    """
    packages = {name: importlib.util.find_spec(name) for name in PHOTOGRAPHS}
    folders = {
        n: Path(found.origin).parent for n, found in packages.items() if found and found.origin
    }
    paths = (folder / name for package, folder in folders.items() for name in PHOTOGRAPHS[package])
    return [path for path in paths if path.is_file()]
