"""Valid specs that nobody chose: what a user may write, made from a seed."""

import random

from tinynet.spec import BatchNorm, Head, Preprocessing, Spec, Stage, Stem


def random_spec(seed: int) -> Spec:
    """A small valid spec; all choices a spec has are made at random."""
    choose = random.Random(seed)
    channels = choose.choice([1, 3, 3, 4])
    stages = [_random_stage(choose) for _ in range(choose.randint(1, 4))]
    side = choose.randint(9, 40)
    return Spec(
        name=f"random_{seed}",
        input_size=(channels, side, choose.choice([side, choose.randint(9, 40)])),
        num_classes=choose.randint(1, 30),
        activation=choose.choice(["silu", "relu6"]),
        batch_norm=BatchNorm(eps=choose.choice([1e-5, 1e-3]), momentum=choose.choice([0.01, 0.1])),
        stem=Stem(choose.choice([1, 3, 3, 5, 7]), choose.randint(1, 3), choose.randint(1, 20)),
        stages=tuple(stages),
        head=Head(choose.randint(1, 40)),
        padding=choose.choice(["symmetric", "same"]),
        preprocessing=Preprocessing((0.5,) * channels, (0.25,) * channels),
    )


def _random_stage(choose: random.Random) -> Stage:
    kind = choose.choice(["ds", "ir", "ir"])
    return Stage(
        kind=kind,
        repeats=choose.randint(1, 3),
        kernel_size=choose.choice([1, 3, 5, 7]),
        stride=choose.choice([1, 1, 2, 3]),
        expand_ratio=1 if kind == "ds" else choose.randint(1, 6),
        out_channels=choose.randint(1, 24),
        se_ratio=choose.choice([None, 0.25, 0.5, 1.0]),
    )
