"""How often each block's residual branch is dropped in training (stochastic depth)."""

from __future__ import annotations

from tinynet.block_kinds import BLOCK_KINDS
from tinynet.spec import Spec


def drop_path_rates(spec: Spec, rate: float) -> tuple[float, ...]:
    """Returns for each block the probability that its residual branch is dropped from a sample.

    Block i of n has rate * i / n, and 0 where nothing is added to the branch. A ResNet always adds
    something, and its last block has the whole rate: rate * i / (n - 1).

    Source: TinyNet's and timm's EfficientNet builder (``drop_path_rate * block_idx / total``);
    timm's ``resnet.py`` (``drop_path_rate * net_block_idx / (net_num_blocks - 1)``).
    """
    blocks = spec.blocks()
    # An only block is the first, which is never dropped.
    steps = max(len(blocks) - spec.family.last_block_has_whole_rate, 1)
    droppable = (block.has_skip or BLOCK_KINDS[block.kind].projects for block in blocks)
    return tuple(rate * index / steps if drops else 0.0 for index, drops in enumerate(droppable))
