"""Twisting: a base spec and three multipliers make a new spec."""

from __future__ import annotations

import dataclasses

from tinynet.block_kinds import BLOCK_KINDS
from tinynet.net.complexity import count
from tinynet.net.rounding import round_channels, round_repeats, round_resolution
from tinynet.spec import Complexity, Derivation, Head, Spec, Stage, Twist


def derive(base: Spec, twist: Twist, name: str, source: str = "") -> Spec:
    """Twists a base spec.

    Stage widths, stage depths and input size scale; the stem keeps its width and the head, where
    there is one, never gets narrower than the base's. Of a bottleneck it is the middle that is
    rounded; what leaves it stays four times as wide.

    Args:
        base: the spec to start from.
        twist: multipliers relative to the base.
        name: the new spec's name.
        source: a citation for the twist, if there is one.

    Returns:
        The new spec, with its derivation and its exact complexity recorded in it.

    Source: Han et al., TinyNets (arXiv 2010.14819), released model code.
    """
    spec = _twisted(base, twist, name, source)
    return dataclasses.replace(spec, expected=count(spec))


def count_twist(base: Spec, twist: Twist) -> Complexity:
    """Counts what :func:`derive` would record of a twist; for searches over many twists."""
    return count(_twisted(base, twist, base.name, ""))


def _twisted(base: Spec, twist: Twist, name: str, source: str) -> Spec:
    channels, height, width = base.input_size
    return dataclasses.replace(
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
                out_channels=_scaled_channels(stage, twist.width),
            )
            for stage in base.stages
        ),
        head=None if base.head is None else _scaled_head(base.head, twist.width),
        derivation=Derivation(base.name, twist),
        expected=None,
    )


def _scaled_channels(stage: Stage, width: float) -> int:
    expansion = BLOCK_KINDS[stage.kind].expansion
    return expansion * round_channels(stage.out_channels // expansion, width)


def _scaled_head(head: Head, width: float) -> Head:
    return Head(max(head.out_channels, round_channels(head.out_channels, width)))
