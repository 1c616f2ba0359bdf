import math

import pytest

from tinynet.net.rounding import round_channels, round_repeats, round_resolution


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (16, 1.0, 16),
        (16, 0.54, 8),  # 8.64
        (24, 0.54, 16),  # 12.96 lies nearer to 16
        (40, 0.54, 24),  # 21.6
        (80, 0.54, 40),  # 43.2: 40 is 7.4 % below, within the tenth
        (192, 0.54, 104),  # 103.68
        (320, 0.54, 176),  # 172.8
        (112, 0.75, 88),  # 84 is half-way: up
        (16, 0.1, 8),  # never below the divisor
        (16, 0.7, 16),  # 11.2 would go to 8, 29 % below
        (24, 0.81, 24),  # 19.44 would go to 16, 18 % below
        (1280, 0.51, 656),  # 652.8
    ],
)
def test_channels_by_hand(channels, width, expected):
    assert round_channels(channels, width) == expected


def test_channels_keep_to_the_grid_and_lose_at_most_a_tenth():
    for channels in range(1, 400):
        for percent in range(5, 300, 5):
            scaled = channels * percent / 100
            rounded = round_channels(channels, percent / 100)
            assert rounded % 8 == 0
            assert rounded >= max(8, 0.9 * scaled)
            assert rounded - scaled < 8
            assert isinstance(rounded, int)


def test_channels_on_another_grid():
    assert [round_channels(n, 1.0, divisor=4) for n in (3, 5, 6, 7, 40)] == [4, 8, 8, 8, 40]


@pytest.mark.parametrize(
    ("repeats", "depth", "expected"),
    [
        (2, 1.25, 2),  # 2.5, half to even
        (2, 1.75, 4),  # 3.5, half to even
        (1, 0.5, 1),  # 0.5 would be 0
        (3, 1.2, 4),  # 3.6
        (4, 1.1, 4),  # 4.4
        (3, 0.85, 3),  # 2.55
        (4, 0.85, 3),  # 3.4; EfficientNet's rounding up would give 4
        (3, 0.695, 2),  # 2.085
        (4, 0.6, 2),  # 2.4
    ],
)
def test_repeats_by_hand(repeats, depth, expected):
    assert round_repeats(repeats, depth) == expected


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [(1.0, 224), (0.86, 192), (0.84, 188), (0.825, 184), (0.68, 152), (0.475, 106)],
)
def test_the_resolutions_of_the_released_nets(resolution, expected):
    assert round_resolution(224, resolution) == expected


def test_resolution_truncates_and_stays_positive():
    for pixels in (1, 7, 224):
        for percent in range(1, 200):
            exact = pixels * (percent / 100)
            assert round_resolution(pixels, percent / 100) == max(1, math.floor(exact))
