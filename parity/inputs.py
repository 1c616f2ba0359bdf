"""What the ladder climbs on: pixels, labels, weights and photographs, the same on every machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinynet.initialise import initial_state
from tinynet.manifest import State, manifest
from tinynet.randomness import Key, uniform
from tinynet.spec import Spec

from parity.twins import Twin

Array = NDArray[Any]

# Package -> photographs inside it. scikit-learn is always there, scikit-image may be.
PHOTOGRAPHS = {
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "skimage": (
        "data/astronaut.png", "data/chelsea.png", "data/coffee.png",
        "data/motorcycle_left.png", "data/rocket.jpg",
    ),
}  # fmt: skip


def pixels(spec: Spec, count: int, seed: int) -> NDArray[np.float32]:
    """Normalised pixels (count, C, H, W): structure at two coarse scales, and texture.

    The texture matters: in large flat areas every rounding goes the same way, and a batch norm
    that sums in float32 without compensation (MindSpore's on CPU) drifts 20 times farther.
    """
    channels, height, width = spec.input_size
    image = np.zeros((count, channels, height, width))
    for cells, weight in ((3, 0.2), (11, 0.2), (max(height, width), 0.6)):
        rows = np.arange(height) * min(cells, height) // height
        columns = np.arange(width) * min(cells, width) // width
        shape = (count, channels, min(cells, height), min(cells, width))
        grid = uniform(shape, seed, "pixels", cells)
        image += weight * grid[:, :, rows[:, None], columns[None, :]]
    mean = np.array(spec.preprocessing.mean)[:, None, None]
    std = np.array(spec.preprocessing.std)[:, None, None]
    return ((image - mean) / std).astype(np.float32)


def jitter(images: NDArray[np.float32], sample: int, seed: int) -> NDArray[np.float32]:
    """The same pixels, each moved by up to one float32 rounding; sample 0 is not moved."""
    return images if sample == 0 else moved(images, seed, "jitter", sample)


def moved(values: NDArray[np.float32], *key: Key) -> NDArray[np.float32]:
    """Numbers, each moved by up to one float32 rounding; ``key`` names the random ones."""
    shift = 2.0 * uniform(values.shape, *key) - 1.0
    return (values * (1.0 + 2.0**-24 * shift)).astype(np.float32)


def labels(spec: Spec, count: int, seed: int) -> NDArray[np.int64]:
    """Class indices (count,)."""
    return np.floor(uniform((count,), seed, "labels") * spec.num_classes).astype(np.int64)


def sample_state(spec: Spec, seed: int, twin: Twin) -> State:
    """A state with nothing trivial in it, for a spec that has no trained weights.

    Initial weights, but for scales and biases drawn at random and for batch-norm statistics
    measured on a batch, as training would leave them. Without measured statistics activations
    grow from block to block and *both* frameworks lose digits.

    Args:
        spec: the net.
        seed: any integer.
        twin: a twin that computes in float64.
    """
    state = initial_state(spec, seed)
    for key, entry in manifest(spec).items():
        noise = uniform(entry.shape, seed, "sample", key) - 0.5
        if entry.role == "bn_weight":
            state[key] = (1.0 + 0.5 * noise).astype(np.float32)
        elif entry.role in ("bn_bias", "conv_bias", "linear_bias"):
            state[key] = (0.5 * noise).astype(np.float32)
    images = pixels(spec, 4, seed)
    net = twin.probe.build(spec, state, precision="float64")
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


def photographs() -> list[Path]:
    """Real photographs that ship inside installed packages, in a fixed order.

    The packages are found without being imported.
    """
    found: list[Path] = []
    for package, names in PHOTOGRAPHS.items():
        package_spec = importlib.util.find_spec(package)
        if package_spec is not None and package_spec.origin is not None:
            folder = Path(package_spec.origin).parent
            found += [folder / name for name in names if (folder / name).is_file()]
    return found
