from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

from tinynet.utils.random_numbers import normal, uniform


# Frozen: dropout masks, crops and initial weights all hang on these bits.
def test_the_same_numbers_for_ever():
    assert uniform((4,), 0).tolist() == [
        0.944087328816426,
        0.7091329223882427,
        0.7903631216596797,
        0.8051360682276189,
    ]
    assert uniform((3,), 1, "blocks.0", 7).tolist() == [
        0.9274950320407528,
        0.1893867955390327,
        0.08740763750739078,
    ]
    assert uniform((2,), -5).tolist() == [0.3467662387403426, 0.7380616468522709]
    # Logarithm and cosine may differ in the last bit between machines.
    np.testing.assert_allclose(
        normal((5,), 0),
        [
            0.815461920188751,
            -0.10186436598733137,
            1.2588001251921954,
            -2.258971083017911,
            -1.568247888315459,
        ],
        rtol=1e-14,
    )


def test_the_raw_bits_are_philox():
    # Independent of the code under test but for the key, which is a SHA-256 of repr(key).
    import hashlib

    digest = hashlib.sha256(b"3\0'a'").digest()
    key = [int.from_bytes(digest[place : place + 8], "little") for place in (0, 8)]
    raw = np.random.Philox(key=np.array(key, np.uint64)).random_raw(10)
    np.testing.assert_array_equal(uniform((10,), 3, "a"), (raw >> np.uint64(11)) / 2.0**53)


def test_shapes():
    for draw in (uniform, normal):
        assert draw((), 0).shape == ()
        assert draw((0, 3), 0).shape == (0, 3)
        for shape in [(1,), (2, 3), (3, 5, 7)]:
            assert draw(shape, 0).shape == shape
            assert draw(shape, 0).dtype == np.float64


def test_a_longer_draw_starts_like_a_shorter_one():
    np.testing.assert_array_equal(uniform((100,), 5)[:10], uniform((10,), 5))
    np.testing.assert_array_equal(uniform((6, 5), 5).ravel(), uniform((30,), 5))


def test_drawing_again_gives_the_same_whatever_was_drawn_between():
    first = normal((9,), "mask", 3)
    uniform((1000,), "other")
    np.random.seed(0)
    np.testing.assert_array_equal(first, normal((9,), "mask", 3))


def test_every_part_of_a_key_tells_streams_apart():
    keys = [
        (0,),
        (1,),
        (-1,),
        ("0",),
        ("1",),
        (0, 0),
        (0, 1),
        (1, 0),
        (0, "1"),
        (1, "a"),
        ("01",),
        ("0", "1"),
        ("0\0", "1"),
        ("0", "\0001"),
        (),
        ("",),
        (10**30,),
    ]
    firsts = [uniform((1,), *key).item() for key in keys]
    assert len(set(firsts)) == len(keys)


@pytest.mark.parametrize("seed", range(5))
def test_uniform_is_uniform(seed):
    values = uniform((20_000,), seed)
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [20_000, 20_001])
def test_normal_is_normal(seed, count):
    values = normal((count,), seed)
    assert stats.kstest(values, "norm").pvalue > 1e-4
    halves = values[: count // 2], values[count // 2 : count // 2 * 2]
    for half in halves:  # cosines and sines
        assert stats.kstest(half, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(*halves)[0, 1]) < 5 / np.sqrt(count // 2)


def test_neighbouring_streams_are_uncorrelated():
    values = np.stack([uniform((5000,), seed) for seed in range(20)])
    matrix = np.corrcoef(values)
    assert np.abs(matrix[~np.eye(20, dtype=bool)]).max() < 5 / np.sqrt(5000)
    # And within one stream from one number to the next.
    assert abs(np.corrcoef(values[0, 1:], values[0, :-1])[0, 1]) < 5 / np.sqrt(5000)


def test_normal_is_finite_at_the_ends_of_uniform(monkeypatch):
    from tinynet.utils import random_numbers

    for end in (0.0, 1 - 2.0**-53):
        monkeypatch.setattr(
            random_numbers, "uniform", lambda shape, *key, end=end: np.full(shape, end)
        )
        assert np.isfinite(normal((4,), 0)).all()


def test_threads_do_not_draw_from_each_other():
    expected = [uniform((1000,), key).tolist() for key in range(8)]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda key: uniform((1000,), key % 8).tolist(), range(800)))
    assert drawn == expected * 100
