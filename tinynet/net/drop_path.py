"""How often each block's residual branch is dropped in training (stochastic depth)."""

from __future__ import annotations

from tinynet.spec import Spec


def drop_path_rates(spec: Spec, rate: float) -> tuple[float, ...]:
    """For each block the probability that its residual branch is left out of a sample.

    Block i of n has rate * i / n, and 0 where nothing is added to the branch. A ResNet always adds
    something, and its last block has the whole rate: rate * i / (n - 1).

    Source: TinyNet's and timm's EfficientNet builder (``drop_path_rate * block_idx / total``);
    timm's ``resnet.py`` (``drop_path_rate * net_block_idx / (net_num_blocks - 1)``).
    """
    blocks = spec.blocks()
    if spec.is_resnet:
        last = max(len(blocks) - 1, 1)  # an only block is the first, which is never left out
        return tuple(rate * index / last for index in range(len(blocks)))
    return tuple(
        rate * index / len(blocks) if block.has_skip else 0.0 for index, block in enumerate(blocks)
    )
