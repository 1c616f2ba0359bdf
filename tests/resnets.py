"""Small ResNets with all that can be wrong: a pool, an even input, a skip and a projection."""

from __future__ import annotations

from tinynet.spec import BatchNorm, Pool, Preprocessing, Spec, Stage, Stem


def small_resnet(kind):
    """A ResNet of 32 pixels and ten classes, of "basic" or of "bottleneck" blocks."""
    widening = {"basic": 1, "bottleneck": 4}[kind]
    return Spec(
        name=f"small_{kind}",
        input_size=(3, 32, 32),
        num_classes=10,
        activation="relu",
        batch_norm=BatchNorm(1e-5, 0.1),
        stem=Stem(7, 2, 8, Pool(3, 2)),
        stages=(
            Stage(kind, 2, 3, 1, None, 8 * widening),
            Stage(kind, 2, 3, 2, None, 16 * widening),
        ),
        preprocessing=Preprocessing(interpolation="bilinear"),
    )
