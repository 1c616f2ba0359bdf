"""Nets that the formulas make are one net in both frameworks, as the published members are."""

import pytest

from tinynet.formula.frontier import load_frontier, non_dominated
from tinynet.formula.tiny import fit, tiny_formula
from tinynet.spec import SPEC_DIRECTORY, load_spec

from parity.candidates import candidates_of
from parity.report.text import format_report
from parity.suite import run_checks
from tiers import only_in_full

FRONTIER = load_frontier("released")
CHECKS = ("spec", "parameters", "logits")
GIANT = sorted((SPEC_DIRECTORY / "giant").glob("*.json"))


def check(spec):
    report = run_checks(spec, checks=CHECKS, candidates=candidates_of("mindspore", ("pynative",)))
    assert report.passed, format_report(report)
    assert [check.name for check in report.checks] == list(CHECKS)
    assert all(check.comparisons for check in report.checks)


# All 73 from 20M to 380M: docs/formula.md tells how.
@pytest.mark.parametrize("millions", only_in_full((20, 80, 180, 380), (20, 80)))
def test_forward_of_what_the_tiny_formula_makes(millions):
    curves = fit(non_dominated(FRONTIER.points)[0])
    check(tiny_formula(FRONTIER.base, curves, millions * 10**6, f"tiny-{millions}M").spec)


def test_forward_of_what_it_makes_of_a_resnet():
    curves = fit(non_dominated(FRONTIER.points)[0])
    check(tiny_formula(load_spec("resnet50"), curves, 300 * 10**6, "resnet50-tiny-300M").spec)


@pytest.mark.parametrize("path", only_in_full(GIANT, GIANT[-2:]), ids=lambda path: path.stem)
def test_forward_of_what_the_giant_formula_makes(path):
    check(load_spec(path))
