import dataclasses

import numpy as np
import pytest
from scipy import stats

from tinynet.data.masks import draw_masks
from tinynet.data.sampling import Sample, samples_at
from tinynet.net.drop_path import drop_path_rates
from tinynet.recipe import load_recipe
from tinynet.spec import load_spec

SPEC = load_spec("tinynet_e")
RATES = np.array(drop_path_rates(SPEC, 0.5))


def draw(samples, dropout=0.2, drop_path=0.5, seed=0, spec=SPEC):
    recipe = dataclasses.replace(
        load_recipe("imagenet"), dropout_rate=dropout, drop_path_rate=drop_path
    )
    return draw_masks(spec, recipe, seed, samples)


def some(count, epoch=0):
    return [Sample(epoch, index) for index in range(count)]


def test_shapes_and_types():
    for count in (0, 1, 7):
        masks = draw(some(count))
        assert masks.dropout.shape == (count, 1280)
        assert masks.drop_path.shape == (count, len(SPEC.blocks()))
        assert masks.dropout.dtype == masks.drop_path.dtype == np.float32


def test_nothing_where_nothing_drops():
    assert draw(some(3), 0.0, 0.0) == (None, None)
    assert draw(some(3), 0.2, 0.0).drop_path is None
    assert draw(some(3), 0.0, 0.5).dropout is None
    assert draw(some(3), 0.0, 0.5).drop_path is not None


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_dropout_has_two_values_and_its_rate(rate):
    mask = draw(some(200), rate).dropout
    assert set(np.unique(mask)) == {0, np.float32(1 / (1 - rate))}
    dropped = int((mask == 0).sum())
    assert stats.binomtest(dropped, mask.size, rate).pvalue > 1e-3
    # In every sample and every feature, not in some of them.
    for axis in (0, 1):
        count = mask.shape[axis]
        worst = np.abs((mask == 0).mean(axis) - rate).max()
        assert worst < 5 * np.sqrt(rate * (1 - rate) / count)


def test_drop_path_has_each_block_s_own_rate():
    mask = draw(some(4000)).drop_path
    for column, rate in zip(mask.T, RATES, strict=True):
        if rate == 0:
            assert set(column) == {1}  # without a skip, or the first: nothing to leave out
        else:
            assert set(column) == {0, np.float32(1 / (1 - rate))}
            dropped = int((column == 0).sum())
            assert stats.binomtest(dropped, len(column), rate).pvalue > 1e-3
    assert (RATES > 0).sum() == 3


def test_a_net_without_skips_drops_no_branch():
    digits = load_spec("tinynet_digits")
    assert not any(block.has_skip for block in digits.blocks())
    mask = draw(some(50), spec=digits).drop_path
    np.testing.assert_array_equal(mask, np.ones((50, 7)))


@pytest.mark.parametrize("sizes", [(1,) * 12, (5, 7), (6, 6), (1, 11)])
def test_a_batch_may_be_split_at_will(sizes):
    samples = samples_at(range(30, 42), 37, 3)  # over the end of an epoch
    whole = draw(samples, seed=3)
    start = 0
    for size in sizes:
        part = draw(samples[start : start + size], seed=3)
        for ours, theirs in zip(part, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[start : start + size])
        start += size


def test_every_key_matters():
    base = draw([Sample(2, 5)], seed=7)
    others = [
        draw([Sample(3, 5)], seed=7),
        draw([Sample(2, 6)], seed=7),
        draw([Sample(5, 2)], seed=7),
        draw([Sample(2, 5)], seed=8),
        draw([Sample(7, 5)], seed=2),
    ]
    for other in others:
        agreement = (base.dropout == other.dropout).mean()
        # Two independent masks agree in 0.8^2 + 0.2^2 of their places.
        assert abs(agreement - 0.68) < 5 * np.sqrt(0.68 * 0.32 / base.dropout.size)


def test_the_two_masks_are_independent():
    # Not the same numbers with two names: the first features would go with the blocks.
    masks = draw(some(4000), dropout=0.5)
    blocks = RATES > 0
    features = masks.dropout[:, : len(RATES)][:, blocks] == 0
    paths = masks.drop_path[:, blocks] == 0
    for column in range(blocks.sum()):
        correlation = np.corrcoef(features[:, column], paths[:, column])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(4000)


def test_neighbouring_features_and_samples_are_independent():
    dropped = draw(some(200)).dropout == 0
    for one, other in [(dropped[1:], dropped[:-1]), (dropped[:, 1:], dropped[:, :-1])]:
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(one.size)


# Frozen: a resumed run, and its twin, leave out the same.
def test_the_same_masks_for_ever():
    masks = draw([Sample(1, 2), Sample(449, 1_281_166)], seed=42)
    dropped = [np.flatnonzero(row[:40] == 0).tolist() for row in masks.dropout]
    assert dropped == [
        [1, 3, 7, 10, 13, 15, 17, 20, 22, 24, 28, 30],
        [1, 5, 8, 10, 12, 15, 20, 25, 31, 37],
    ]
    dropped = [np.flatnonzero(row == 0).tolist() for row in draw(some(6)).drop_path]
    assert dropped == [[], [6], [6], [6], [4], [6, 8]]
