"""Twisting: a base spec and three multipliers make a new spec."""

from __future__ import annotations

import dataclasses

from tinynet.complexity import count
from tinynet.rounding import round_channels, round_repeats, round_resolution
from tinynet.spec import Derivation, Head, Spec, Twist


def derive(base: Spec, twist: Twist, name: str, source: str = "") -> Spec:
    """Twists a base spec.

    Stage widths, stage depths and input size scale; the stem keeps its width and the head never
    gets narrower than the base's.

    Args:
        base: the spec to start from.
        twist: multipliers relative to the base.
        name: the new spec's name.
        source: a citation for the twist, if there is one.

    Returns:
        The new spec, with its derivation and its exact complexity recorded in it.

    Source: Han et al., TinyNets (arXiv 2010.14819), released model code.
    """
    channels, height, width = base.input_size
    spec = dataclasses.replace(
        base,
        name=name,
        source=source,
        input_size=(
            channels,
            round_resolution(height, twist.resolution),
            round_resolution(width, twist.resolution),
        ),
        stages=tuple(
            dataclasses.replace(
                stage,
                repeats=round_repeats(stage.repeats, twist.depth),
                out_channels=round_channels(stage.out_channels, twist.width),
            )
            for stage in base.stages
        ),
        head=Head(max(base.head.out_channels, round_channels(base.head.out_channels, twist.width))),
        derivation=Derivation(base.name, twist),
        expected=None,
    )
    return dataclasses.replace(spec, expected=count(spec))
