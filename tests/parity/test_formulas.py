"""Rules of formula and position, found in kernels that are planted."""

import numpy as np
import pytest

from parity.audit.formulas import NONE, find_pattern, followed

SIZES = range(1, 34)


def assigned(rule):
    """What each position of tensors of all sizes follows, by a rule (position, length) -> name."""
    return [[rule(i, n) for i in range(n)] for n in SIZES]


def test_one_formula():
    pattern = find_pattern(assigned(lambda i, n: "a"))
    assert (pattern.kind, pattern.length, pattern.positions) == ("one formula", 0, {"a": "0-32"})
    assert str(pattern) == "a"


@pytest.mark.parametrize("block", [2, 3, 4, 7, 8, 16, 32])
def test_whole_blocks(block):
    pattern = find_pattern(assigned(lambda i, n: "a" if i < n // block * block else "b"))
    assert (pattern.kind, pattern.length) == ("whole blocks", block)
    assert list(pattern.positions) == ["a", "b"]
    assert str(pattern) == f"in whole blocks of {block}: a; after them: b"


def test_whole_blocks_where_the_longest_tensor_leaves_nothing_over():
    tensors = [["a"] * (n // 4 * 4) + ["b"] * (n % 4) for n in range(1, 13)]
    assert find_pattern(tensors).positions == {"a": "0-11", "b": ""}


@pytest.mark.parametrize("length", [2, 4, 5])
def test_a_period(length):
    pattern = find_pattern(assigned(lambda i, n: "b" if i % length == 1 else "a"))
    assert (pattern.kind, pattern.length) == ("period", length)


def test_no_rule():
    pattern = find_pattern(assigned(lambda i, n: "b" if (i, n) in ((2, 7), (30, 33)) else "a"))
    assert (pattern.kind, pattern.length) == ("irregular", 0)
    assert pattern.positions == {"a": "0-29, 31-32", "b": "30"}
    assert str(pattern) == "changes irregularly (0-29, 31-32: a; 30: b)"


def test_a_position_that_is_odd_in_every_tensor_is_no_period():
    assert find_pattern(assigned(lambda i, n: "b" if i == 20 else "a")).kind == "irregular"


def test_followed_is_the_nearest_that_rounding_explains():
    found = np.array([1.0, 1.0 + 2**-22, 1.0, np.nan], np.float32)
    exact = np.array([1.0, 1.0, 2.0, 1.0])
    near = np.array([1.0 + 2**-23, 1.0 + 2**-22, 3.0, 1.0])
    assert followed(found, {"exact": exact, "near": near}, 4) == ["exact", "near", NONE, NONE]
    assert followed(found, {"exact": exact}, 4) == ["exact", "exact", NONE, NONE]
    assert followed(found, {"exact": exact}, 3) == ["exact", NONE, NONE, NONE]
