"""What tests of specs share: a text to change, and the names of what is shipped."""

import functools

from tinynet.spec import SPEC_DIRECTORY

import broken_documents

TEXT = (SPEC_DIRECTORY / "tinynet_c.json").read_text()
changed = functools.partial(broken_documents.changed, TEXT)
without = functools.partial(broken_documents.without, TEXT)
ALL = [
    "efficientnet_b0",
    "efficientnet_lite0",
    "resnet18",
    "resnet34",
    "resnet50",
    "tinynet_a",
    "tinynet_b",
    "tinynet_c",
    "tinynet_d",
    "tinynet_digits",
    "tinynet_e",
]
PHOTO = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_fraction": 0.9, "interpolation": "bilinear"}
