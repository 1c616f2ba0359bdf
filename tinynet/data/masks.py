"""Which features and branches a training step leaves out, drawn before a twin sees them.

The numbers are keyed by sample, so that a mask does not depend on how a batch is split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinynet.data.sampling import Sample
from tinynet.net.drop_path import drop_path_rates
from tinynet.recipe import Recipe
from tinynet.spec import Spec
from tinynet.utils.random_numbers import uniform

Factors = npt.NDArray[np.float32]


class Masks(NamedTuple):
    """Factors of a batch, 0 or 1 / (1 - rate), so that the mean stays; None where nothing drops.

    ``dropout`` is float32 (N, feature channels), for the pooled features before the classifier,
    ``drop_path`` float32 (N, blocks), for the residual branch of each block.
    """

    dropout: Factors | None
    drop_path: Factors | None


def draw_masks(spec: Spec, recipe: Recipe, seed: int, samples: Sequence[Sample]) -> Masks:
    """Draws the masks of N samples by the recipe's ``dropout_rate`` and ``drop_path_rate``.

    Source: Srivastava et al., Dropout (JMLR 2014), in the inverted form; Huang et al., Deep
    Networks with Stochastic Depth (arXiv 1603.09382), per sample.
    """
    dropout = drop_path = None
    if recipe.dropout_rate > 0:
        rates = np.full(spec.feature_channels, recipe.dropout_rate)
        dropout = _factors(rates, "dropout", seed, samples)
    if recipe.drop_path_rate > 0:
        rates = np.array(drop_path_rates(spec, recipe.drop_path_rate))
        drop_path = _factors(rates, "drop_path", seed, samples)
    return Masks(dropout, drop_path)


def _factors(
    rates: npt.NDArray[np.float64], purpose: str, seed: int, samples: Sequence[Sample]
) -> Factors:
    kept = (1.0 / (1.0 - rates)).astype(np.float32)
    factors = np.empty((len(samples), len(rates)), np.float32)
    for row, sample in zip(factors, samples, strict=True):
        drawn = uniform(rates.shape, seed, sample.epoch, sample.index, purpose)
        row[:] = np.where(drawn < rates, 0, kept)
    return factors
