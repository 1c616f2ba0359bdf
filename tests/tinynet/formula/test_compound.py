import math

import pytest

from tinynet.formula.compound import compound_twist, law, solve_phi, width_by_law
from tinynet.net.complexity import count
from tinynet.net.twist import derive
from tinynet.spec import SPEC_DIRECTORY, Twist, format_spec, list_specs, load_spec

BASE = load_spec("efficientnet_b0")
GIANT = sorted((SPEC_DIRECTORY / "giant").glob("*.json"))


def test_the_compound_multipliers():
    assert compound_twist(0) == Twist(1.0, 1.0, 1.0)
    assert compound_twist(1) == Twist(1.15, 1.2, 1.1)
    assert compound_twist(2) == Twist(1.3225, 1.44, 1.21)
    assert compound_twist(-1) == Twist(0.8696, 0.8333, 0.9091)  # 1 / 1.15, 1 / 1.2, 1 / 1.1


@pytest.mark.parametrize("phi", [10.5, -11, math.nan, math.inf])
def test_exponents_out_of_range(phi):
    with pytest.raises(ValueError, match=f"phi is {phi:g}, expected a number from -10 to 10"):
        compound_twist(phi)


@pytest.mark.parametrize("budget", [30_000_000, 123_456_789, 385_814_752, 700_000_000])
def test_no_exponent_comes_nearer_to_a_budget(budget):
    def off(thousandths):
        return abs(count(derive(BASE, compound_twist(thousandths / 1000), "x")).macs - budget)

    found = round(1000 * solve_phi(BASE, budget))
    # Counts grow with the exponent, so what lies further away is further off.
    assert off(found) == min(off(near) for near in range(found - 400, found + 401, 2))


def test_the_inverse_of_the_base_is_zero():
    assert derive(BASE, compound_twist(solve_phi(BASE, BASE.expected.macs)), "x").stages == (
        BASE.stages
    )


# The shipped ones


def test_they_are_four_and_not_among_the_members_that_the_gate_runs():
    assert [path.stem for path in GIANT] == [f"efficientnet_b_minus_{n}" for n in (1, 2, 3, 4)]
    assert set(list_specs()).isdisjoint(path.stem for path in GIANT)


@pytest.mark.parametrize(
    ("path", "budget", "most_off"),
    [
        (path, budget, most_off)
        for path, (budget, most_off) in zip(
            GIANT, [(200e6, 0.004), (100e6, 0.002), (50e6, 0.04), (24e6, 0.013)], strict=True
        )
    ],
    ids=lambda value: getattr(value, "stem", None),
)
def test_they_are_what_the_formula_makes(path, budget, most_off):
    spec = load_spec(path)
    phi = solve_phi(BASE, int(budget))
    assert derive(BASE, compound_twist(phi), path.stem) == spec
    assert count(spec) == spec.expected
    assert abs(spec.expected.macs / budget - 1) <= most_off
    assert spec.source == f"compound scaling (arXiv 1905.11946) with phi = {phi:g}"
    assert format_spec(spec) == path.read_text()


# The law


# FACTS, measured before this was written: by how many percent the law's width is off.
@pytest.mark.parametrize(
    ("name", "off"),
    [("tinynet_a", -1), ("tinynet_b", 9), ("tinynet_c", 24), ("tinynet_d", 19), ("tinynet_e", 34)],
)
def test_how_far_off_the_laws_width_is(name, off):
    spec = load_spec(name)
    twist = spec.derivation.twist
    width = width_by_law(twist, spec.expected.macs / BASE.expected.macs)
    assert round(100 * (width / twist.width - 1)) == off
    assert law(Twist(twist.resolution, twist.depth, width)) == pytest.approx(
        spec.expected.macs / BASE.expected.macs
    )


def test_the_law_for_tinynet_c():
    assert law(load_spec("tinynet_c").derivation.twist) == pytest.approx(0.169, abs=5e-4)
    assert load_spec("tinynet_c").expected.macs / BASE.expected.macs == pytest.approx(
        0.258, abs=5e-4
    )
