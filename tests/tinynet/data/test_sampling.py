import collections
import hashlib
import itertools

import numpy as np
import pytest
from scipy import stats

from tinynet.data.sampling import (
    BatchingError,
    Sample,
    accumulation,
    epoch_ends,
    part_positions,
    samples_at,
)
from tinynet.spec import load_spec

NET = load_spec("tinynet_e")  # whose last map has 4 x 4 places
SIZES = [1, 2, 3, 7, 10, 64]


def batch(step, batch_size, images, seed=0):
    return samples_at(part_positions(step, batch_size, 1, 0), images, seed)


def order(epoch, images, seed):
    return [s.index for s in samples_at(range(epoch * images, (epoch + 1) * images), images, seed)]


# The stream


@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("images", [1, 2, 10, 37])
def test_every_sample_once_an_epoch_whatever_the_batch(images, batch_size):
    steps = -(-3 * images // batch_size)
    stream = list(itertools.chain(*(batch(step, batch_size, images) for step in range(steps))))
    assert len(stream) == steps * batch_size  # full batches only
    whole = stream[: 3 * images]
    assert [sample.epoch for sample in whole] == [0] * images + [1] * images + [2] * images
    assert collections.Counter(whole) == {
        Sample(epoch, index): 1 for epoch in range(3) for index in range(images)
    }


@pytest.mark.parametrize("batch_size", SIZES)
def test_the_stream_does_not_depend_on_the_batch(batch_size):
    stream = samples_at(range(200), 37, 5)
    parts = [batch(step, batch_size, 37, 5) for step in range(200 // batch_size)]
    assert list(itertools.chain(*parts)) == stream[: 200 // batch_size * batch_size]


def test_a_batch_reaches_over_the_end_of_an_epoch():
    assert [sample.epoch for sample in batch(2, 4, 10)] == [0, 0, 1, 1]
    # And over several where it is larger than the data set.
    assert [sample.epoch for sample in batch(0, 7, 3)] == [0, 0, 0, 1, 1, 1, 2]


def test_any_position_can_be_asked_for_first():
    # What a resumed run does.
    assert samples_at([1000], 37, 0) == samples_at(range(1001), 37, 0)[1000:]
    positions = [5, 3, 99, 3]
    expected = [samples_at(range(100), 37, 0)[position] for position in positions]
    assert samples_at(positions, 37, 0) == expected


@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("images", [1, 7, 10, 37])
def test_the_steps_that_end_an_epoch(images, batch_size):
    ends = [step for step in range(60) if epoch_ends(step, batch_size, images)]
    last = {epoch * images - 1 for epoch in range(1, 60 * batch_size // images + 1)}
    expected = [s for s in range(60) if last & set(part_positions(s, batch_size, 1, 0))]
    assert ends == expected


# The shuffle


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(order(epoch, 50, seed)) for epoch in range(10) for seed in range(-5, 5)}
    assert len(orders) == 100
    assert tuple(range(50)) not in orders


def test_asking_for_other_orders_between_changes_nothing():
    before = order(0, 20, 0)
    for epoch, images, seed in itertools.product(range(3), (20, 21), range(3)):
        order(epoch, images, seed)
    assert order(0, 20, 0) == before


def test_every_order_of_four_is_as_likely():
    counts = collections.Counter(tuple(order(epoch, 4, 0)) for epoch in range(4800))
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_neighbours_in_the_data_are_not_neighbours_in_the_stream():
    # The folders are sorted by class: a half-shuffled order would show whole classes in a row.
    places = np.argsort(order(0, 10_000, 0))
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 4 / np.sqrt(10_000)
    assert abs(np.corrcoef(places, np.arange(10_000))[0, 1]) < 4 / np.sqrt(10_000)


# Frozen: a resumed run goes on with the samples that it has not seen yet.
@pytest.mark.parametrize(
    ("epoch", "seed", "expected"),
    [
        (0, 0, [7, 9, 6, 5, 0, 3, 4, 1, 2, 8]),
        (1, 0, [9, 7, 5, 3, 6, 8, 1, 4, 2, 0]),
        (0, 1, [3, 2, 1, 0, 9, 8, 6, 5, 7, 4]),
        (449, 2**40, [6, 5, 1, 0, 3, 8, 7, 2, 9, 4]),
        (3, -7, [5, 6, 3, 9, 1, 2, 8, 7, 4, 0]),
    ],
)
def test_the_same_order_for_ever(epoch, seed, expected):
    assert order(epoch, 10, seed) == expected


def test_the_order_is_that_of_philox_numbers():
    # Independent of the code under test: raw 64-bit words, keyed by a SHA-256 of the names.
    digest = hashlib.sha256(b"12\x0034\x00'order'").digest()
    key = [int.from_bytes(digest[place : place + 8], "little") for place in (0, 8)]
    raw = np.random.Philox(key=np.array(key, np.uint64)).random_raw(1000)
    assert order(34, 1000, 12) == sorted(range(1000), key=lambda place: int(raw[place]) >> 11)


def test_indices_are_plain_numbers():
    # They become part of a key by their repr, which would differ for NumPy's.
    (sample,) = samples_at(range(3, 4), 10, 0)
    assert type(sample.index) is int
    assert type(sample.epoch) is int


# Parts


@pytest.mark.parametrize(("batch_size", "parts"), [(1, 1), (6, 1), (6, 2), (6, 3), (6, 6), (64, 8)])
@pytest.mark.parametrize("step", [0, 1, 17])
def test_parts_make_up_the_batch(batch_size, parts, step):
    split = [part_positions(step, batch_size, parts, part) for part in range(parts)]
    assert {len(part) for part in split} == {batch_size // parts}
    whole = range(step * batch_size, (step + 1) * batch_size)
    assert list(itertools.chain(*split)) == list(whole)


def test_two_ranks_see_the_parts_that_one_accumulates():
    def parts(ranks, micro_batch):
        times = accumulation(NET, 24, ranks, micro_batch)
        return [
            part_positions(5, 24, times * ranks, time * ranks + rank)
            for time in range(times)
            for rank in range(ranks)
        ]

    assert parts(1, 6) == parts(2, 6) == parts(4, None)
    assert len(parts(1, 6)) == 4
    assert parts(1, 12) == parts(2, None)


# How often to accumulate


@pytest.mark.parametrize(
    ("batch_size", "ranks", "micro_batch", "expected"),
    [
        (1024, 1, None, 1),
        (1024, 8, None, 1),
        (1024, 1, 256, 4),
        (1024, 4, 256, 1),
        (1024, 4, 64, 4),
        (1024, 4, 1000, 1),  # it is the most, no more
        (6, 2, 1, 3),
        (1, 1, 1, 1),
    ],
)
def test_accumulation(batch_size, ranks, micro_batch, expected):
    assert accumulation(NET, batch_size, ranks, micro_batch) == expected


@pytest.mark.parametrize(
    ("batch_size", "ranks", "micro_batch", "message"),
    [
        (
            32,
            3,
            None,
            "a batch of 32 images cannot be shared equally by 3 processes; change it with "
            "--set batch_size=...",
        ),
        (
            2,
            4,
            None,
            "a batch of 2 images cannot be shared equally by 4 processes; change it with "
            "--set batch_size=...",
        ),
        (
            32,
            2,
            5,
            "--micro-batch is 5, expected a divisor of 16, the images that each of 2 processes "
            "has of a batch of 32",
        ),
        (
            32,
            1,
            0,
            "--micro-batch is 0, expected a divisor of 32, the images that each of 1 processes "
            "has of a batch of 32",
        ),
        (
            32,
            1,
            -4,
            "--micro-batch is -4, expected a divisor of 32, the images that each of 1 processes "
            "has of a batch of 32",
        ),
    ],
)
def test_a_batch_that_cannot_be_split(batch_size, ranks, micro_batch, message):
    with pytest.raises(BatchingError) as caught:
        accumulation(NET, batch_size, ranks, micro_batch)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == message


def test_batch_norm_needs_two_numbers():
    digits = load_spec("tinynet_digits")  # whose last map has one place
    assert accumulation(digits, 8, 2, 2) == 2
    assert accumulation(NET, 8, 2, 1) == 4
    with pytest.raises(BatchingError, match=r"leaves blocks\.5\.0\.bn2 of tinynet_digits with one"):
        accumulation(digits, 8, 2, 1)
