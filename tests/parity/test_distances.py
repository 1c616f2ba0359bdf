import math

import numpy as np
import pytest

from parity.distances import compare_bits


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "i8", "u1", "?"])
def test_the_share_of_numbers_that_differ(dtype):
    truth = np.array([[0, 1], [1, 0], [1, 1], [0, 0]], dtype)
    found = truth.copy()
    assert compare_bits("a", "b", found.T, truth.T).error == 0.0  # as it lies in memory or not
    found[1, 1] = 1
    found[3, 0] = 1
    comparison = compare_bits("a", "b", found, truth)
    assert (comparison.error, comparison.passed) == (0.25, False)


def test_bits_and_not_values_are_compared():
    nan, zero = np.float32([math.nan]), np.float32([0.0])
    assert compare_bits("a", "b", nan.copy(), nan).passed
    assert compare_bits("a", "b", -zero, zero).error == 1.0


def test_another_type_is_no_copy():
    comparison = compare_bits("a", "b", np.zeros(2, "f8"), np.zeros(2, "f4"))
    assert (comparison.error, comparison.note) == (math.inf, "float64, expected float32")
