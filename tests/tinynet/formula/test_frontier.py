import dataclasses
import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinynet.formula.frontier import (
    FRONTIER_DIRECTORY,
    Frontier,
    FrontierError,
    Point,
    format_frontier,
    load_frontier,
    non_dominated,
    point,
)
from tinynet.spec import Twist, format_spec, load_spec
from tinynet.utils.strict_json import check_document

RELEASED = load_frontier("released")
TEXT = (FRONTIER_DIRECTORY / "released.json").read_text()


def named(points):
    return [point.name for point in points]


# Sorting


def test_the_base_is_dominated_by_tinynet_a():
    assert [named(front) for front in non_dominated(RELEASED.points)] == [
        ["tinynet_e", "tinynet_d", "tinynet_c", "tinynet_b", "tinynet_a"],
        ["efficientnet_b0"],
    ]


def made(macs, accuracy, name="p"):
    return Point(name, Twist(1.0, 1.0, 1.0), macs, 1.0, accuracy, "")


def test_equal_points_share_a_front_and_ties_in_one_are_dominated():
    best, twin = made(2, 50.0, "best"), made(2, 50.0, "twin")
    dearer, worse = made(3, 50.0, "dearer"), made(2, 40.0, "worse")
    assert [named(f) for f in non_dominated([worse, twin, dearer, best])] == [
        ["twin", "best"],
        ["worse", "dearer"],
    ]
    assert non_dominated([]) == []


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=12))
def test_a_points_front_is_the_longest_chain_of_points_above_it(pairs):
    points = [made(macs, float(accuracy), str(i)) for i, (macs, accuracy) in enumerate(pairs)]

    def above(one, other):
        gains = (other.macs - one.macs, one.accuracy - other.accuracy)
        return min(gains) >= 0 and max(gains) > 0

    @cache
    def chain(p):
        return max((1 + chain(other) for other in points if above(other, p)), default=0)

    fronts = non_dominated(points)
    assert sorted(named(p for front in fronts for p in front)) == sorted(named(points))
    assert [{chain(p) for p in front} for front in fronts] == [{n} for n in range(len(fronts))]
    for front in fronts:
        assert [p.macs for p in front] == sorted(p.macs for p in front)


# The shipped points


def test_the_released_members_are_the_shipped_specs():
    assert (RELEASED.base.name, len(RELEASED.points)) == ("efficientnet_b0", 6)
    for p in RELEASED.points:
        spec = load_spec(p.name)
        assert p.macs == spec.expected.macs
        assert p.cost == p.macs / load_spec("efficientnet_b0").expected.macs
        assert p.source
        if spec.derivation:
            assert p.twist == spec.derivation.twist


def test_the_shipped_file_fits_its_schema():
    schema = json.loads((FRONTIER_DIRECTORY / "frontier.schema.json").read_text())
    check_document(json.loads(TEXT), schema, "released")


# Files


def test_a_file_written_is_the_file_read(tmp_path):
    assert format_frontier(RELEASED) == TEXT
    path = tmp_path / "mine.json"
    path.write_text(format_frontier(RELEASED))
    assert load_frontier(path) == RELEASED
    assert load_frontier(str(path)) == RELEASED


def test_the_base_may_be_a_file_beside_the_points(tmp_path):
    base = dataclasses.replace(load_spec("tinynet_e").with_classes(10), name="toy")
    (tmp_path / "toy.json").write_text(format_spec(base))
    points = (point(base, Twist(0.5, 1.0, 2.0), 88.5, "wide", "seed 0"),)
    path = tmp_path / "points.json"
    path.write_text(format_frontier(Frontier(base, "toy.json", points, "a search")))
    read = load_frontier(path)
    assert read.base == base
    assert read.points == points
    assert read.source == "a search"


def changed(**changes):
    document = json.loads(TEXT)
    document["points"][1].update(changes)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON at line 1, column 1: Expecting value"),
        (
            TEXT.replace('"base"', '"bass"'),
            'unknown key "bass", expected one of $schema, '
            "frontier_version, base, source, points (and 1 more)",
        ),
        (
            changed(accuracy=101),
            "points[1].accuracy is 101, expected top-1 in percent, from 0 to 100",
        ),
        (
            changed(macs=1.5),
            "points[1].macs is 1.5, expected a whole number of multiply-accumulates",
        ),
        (
            changed(twist={"resolution": 1, "depth": 1}),
            'the key "width" is missing in '
            "points[1].twist, expected a multiplier above 0, at most 64",
        ),
        (
            changed(macs=336867713),
            "points[1].macs is 336867713, expected 336867712, what its twist "
            "of efficientnet_b0 counts to",
        ),
    ],
)
def test_a_file_that_is_wrong(text, message, tmp_path):
    path = tmp_path / "points.json"
    path.write_text(text)
    with pytest.raises(FrontierError) as caught:
        load_frontier(path)
    assert str(caught.value) == f"{path}: {message}"


def test_an_unknown_name():
    with pytest.raises(FrontierError) as caught:
        load_frontier("paper")
    assert str(caught.value) == (
        "paper: no such frontier, expected the path of a .json file or one of released"
    )


def test_an_unknown_base(tmp_path):
    path = tmp_path / "points.json"
    path.write_text(TEXT.replace('"base": "efficientnet_b0"', '"base": "absent.json"'))
    with pytest.raises(ValueError, match=r"absent\.json: cannot be read"):
        load_frontier(path)
