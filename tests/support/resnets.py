"""Small ResNets with all that can be wrong: a pool, an even input, a skip and a projection."""

from __future__ import annotations

from tinynet.spec import SPEC_DIRECTORY, load_spec


def small_resnet(kind):
    """A ResNet of 32 pixels and ten classes, of "basic" or of "bottleneck" blocks."""
    return load_spec(SPEC_DIRECTORY / f"small/resnet_{kind}.json")
