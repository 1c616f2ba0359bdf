import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinynet.formula.width_search import Plateau, around, nearest


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.data())
def test_both_sides_of_a_budget_by_looking_at_every_setting(increments, data):
    counts = [sum(increments[: i + 1]) + 5 for i in range(len(increments))]
    settings = range(10, 10 + len(counts))
    budget = data.draw(st.integers(0, counts[-1] + 3))

    def solve():
        return around(settings, lambda setting: counts[setting - 10], budget, "this")

    if not counts[0] <= budget < counts[-1]:
        with pytest.raises(ValueError, match="the reach of this"):
            solve()
        return
    expected = []
    for count in (
        max(c for c in counts if c <= budget),
        min(c for c in counts if c > budget),
    ):
        at = [setting for setting in settings if counts[setting - 10] == count]
        expected.append(Plateau(count, at[0], at[-1]))
    assert solve() == expected
    best = nearest(expected, budget)
    assert abs(best.macs - budget) == min(abs(count - budget) for count in counts)
    assert best.first <= best.middle <= best.last


def test_of_two_equally_near_the_cheaper_is_taken():
    cheap, dear = Plateau(8, 0, 0), Plateau(12, 1, 1)
    assert nearest([dear, cheap], 10) is cheap


def test_few_settings_are_counted():
    asked = []

    def macs(setting):
        asked.append(setting)
        return setting // 50

    assert around(range(1, 8001), macs, 77, "this")[0] == Plateau(77, 3850, 3899)
    assert len(asked) < 100
