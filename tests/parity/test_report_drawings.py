"""The drawings of the report: every number has a place, and what fails is seen."""

import dataclasses
import math

import pytest

from parity.audit.formulas import Pattern
from parity.audit.results import Audit, Row, save_audit
from parity.report.markup import serialise
from parity.report.operators import operators
from parity.report.run_plot import run_plot
from parity.results import Comparison, Series
from reports import (
    CANDIDATES,
    LAYERS,
    Page,
    drawn,
    failing_report,
    gradient_check,
    layer_check,
    page_of,
    passing_report,
    with_failures,
)


def test_plot_has_one_mark_per_layer_per_candidate_between_noise_and_bound(tmp_path):
    page = drawn(passing_report(), "layers-chained", tmp_path)
    marks = [mark for mark in page.of_class("mark") if "transform" in mark]
    assert len(page.of_class("spot")) == len(LAYERS)
    assert len(marks) == len(LAYERS) * len(CANDIDATES)
    lines = [attrs for attrs in page.of_class("bound") if attrs["d"] != "M0,6H18"]
    assert len(lines) == 1
    for candidate in CANDIDATES:
        assert f"{candidate}: 4e-07 (2x noise), bound 30x" in page.text


def test_plot_marks_failures_and_what_has_no_size(tmp_path):
    page = drawn(failing_report(), "layers-chained", tmp_path)
    failed = [set(mark["class"].split()) for mark in page.of_class("failed") if "d" in mark]
    assert len(failed) == 2
    assert sum("cross" in classes for classes in failed) == 1


@pytest.mark.parametrize("error", [0.0, 1e-30, 1e30, math.inf, math.nan])
def test_any_error_has_a_place_in_the_plot(error, tmp_path):
    item = Comparison(CANDIDATES[0], "bn1", error, 1e-6, noise=1e-7)
    report = with_failures(passing_report(), "layers-chained", item)
    page = drawn(report, "layers-chained", tmp_path)
    heights = [
        float(mark["transform"].partition(",")[2].rstrip(")"))
        for mark in page.of_class("mark")
        if "transform" in mark
    ]
    assert len(heights) == len(LAYERS) * len(CANDIDATES)
    assert all(0 <= height <= 300 for height in heights)
    if not math.isfinite(error):
        assert min(heights) == 14.0  # at the ceiling, far above its bound


def cells_of(page):
    return [attrs for tag, attrs in page.tags if tag == "td" and "title" in attrs]


def gradients(*checks):
    return dataclasses.replace(passing_report(), checks=checks)


def test_heat_map_has_a_cell_for_every_comparison(tmp_path):
    checks = [gradient_check(name) for name in ("gradients-isolated", "gradients-chained")]
    page = page_of(gradients(*checks), tmp_path)
    told = [cell["title"].splitlines() for cell in cells_of(page)]
    assert sorted(
        (where, candidate.partition(":")[0], check) for where, _, candidate, check, _ in told
    ) == sorted(
        (item.where, item.candidate, check.name) for check in checks for item in check.comparisons
    )
    # The block with the most tensors comes in its own order, and the input's row is the stem's.
    heads = "layer mindspore pynative gradients-isolated mindspore pynative gradients-chained "
    assert heads in page.text
    assert "conv_stem blocks.0.0 blocks.1.0 classifier" in page.text
    assert len(page.of_class("over")) == 1  # in the legend
    assert len(page.of_class("chosen")) == 1


@pytest.mark.parametrize(
    ("error", "shade"),
    [
        (0.0, "h0"),
        (2e-8, "h0"),
        (4e-8, "h1"),
        (9e-8, "h2"),
        (1.9e-7, "h3"),
        (3.9e-7, "h4"),
        (8e-7, "h5"),
        (8.1e-7, "over"),
        (math.inf, "over"),
        (math.nan, "over"),
    ],
)
def test_heat_map_shades_shares_of_the_bound(error, shade, tmp_path):
    page = page_of(gradients(gradient_check("gradients-chained", error)), tmp_path)
    cells = cells_of(page)
    assert len(cells) == 16
    assert all(shade in cell["class"].split() for cell in cells)
    # Not by colour alone; one sign stands in the legend.
    assert page.words.count("!") == 1 + (shade == "over") * len(cells)


def test_trajectories_are_drawn_over_each_other_and_held_to_bounds(tmp_path):
    page = drawn(passing_report(), "trajectory", tmp_path)
    curves = [attrs for attrs in page.of_class("curve") if attrs["d"] != "M0,6H18"]
    assert [attrs["d"].count(",") for attrs in curves] == [3, 3, 3]
    assert len(page.of_class("spot")) == 3
    marks = [mark for mark in page.of_class("mark") if "transform" in mark]
    assert len(marks) == 2 * len(CANDIDATES)  # where nothing differs there is none
    assert sum(tag == "circle" for tag, _ in page.tags) == 2
    (bound,) = [attrs for attrs in page.of_class("bound") if attrs["d"] != "M0,6H18"]
    (noise,) = [attrs for tag, attrs in page.tags if tag == "path" and attrs["class"] == "noise"]
    top = [float(line["d"].split(",")[1].partition("H")[0]) for line in (bound, noise)]
    assert top[0] < min(float(mark["transform"].partition(",")[2][:-1]) for mark in marks)
    assert top[0] < top[1]
    assert (
        "step 3 float64 reference: 2 mindspore pynative: 2.000002, 1e-06 away (1x noise), bound 8x"
        in page.text
    )


def test_a_loss_beyond_its_bound_is_marked_and_reported_first(tmp_path):
    item = Comparison(CANDIDATES[1], "loss of step 2", 1e-3, bound=8e-6, noise=1e-6)
    page = drawn(with_failures(passing_report(), "trajectory", item), "trajectory", tmp_path)
    assert len([mark for mark in page.of_class("failed") if "transform" in mark]) == 1
    assert page.text.count("step 2 float64 reference") == 2  # at its place, and below the drawing


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0, 1e30])
def test_any_loss_can_be_drawn(loss):
    truth = Series("one", (3.0, loss, 1.0))
    drawing = run_plot("Runs", truth, [Series("other", (3.0, 2.0, loss))])
    numbers = [mark.get("transform") for mark in drawing.iter("path") if mark.get("transform")]
    assert numbers
    assert not any("nan" in text or "inf" in text for text in numbers)
    for curve in drawing.iter("path"):
        assert "nan" not in curve.get("d")


def test_the_checks_shows_how_many_came_how_near(tmp_path):
    severities = (0.0, 1e-9, 0.02, 0.9, 0.9, 1.0, 2.0, 1e9, math.inf)
    comparison = tuple(
        Comparison("graph", str(index), severity, 1.0, 0.1)
        for index, severity in enumerate(severities)
    )
    check = dataclasses.replace(layer_check("ema"), comparisons=comparison)
    page = page_of(dataclasses.replace(passing_report(), checks=(check,)), tmp_path)
    bars = [
        (attrs["class"] == "fill", (float(attrs["x"]) - 1) / 9, float(attrs["height"]))
        for attrs in page.of_class("fill")
    ]
    # Half decades from a thousandth to a thousand times the bound, which is between 5 and 6.
    assert [bar[:2] for bar in bars] == [(True, 0), (True, 2), (True, 5), (False, 6), (False, 11)]
    assert max(bars, key=lambda bar: bar[2]) == (True, 5, 26.0)
    assert "6 within their bounds, 3 beyond" in page.text


def store_audit(folder, framework="mindspore", version="2.10.0", device="cpu"):
    rows = (
        Row("sigmoid", "y", 74.9, "x (2, 3), element (0, 1)", 44.0, 30),
        Row("sigmoid", "dx", math.inf, "x (1, 1), element (0, 0)", 43.8, 30),
        Row("batch norm", "y", 2.5, "x (2, 3), element (0, 0)", 1.0, 30),
        Row("batch norm", "running_mean", 5.5, "x (9, 3), element (2,)", 1.0, 30),
    )
    halves = Pattern("whole blocks", 8, {"eps outside the root": "0-7", "inside": "8"})
    made = Audit(
        framework,
        version,
        device,
        "a machine",
        "the command",
        "2026-01-01",
        (1, 2),
        rows,
        {"stock RMSProp": halves},
    )
    save_audit(made, folder)


def operators_of(environment, folder):
    return Page(serialise(list(operators(environment, folder))))


def test_operators_show_the_stored_audits_of_the_versions_there_are(tmp_path):
    store_audit(tmp_path)
    store_audit(tmp_path, version="2.9.0")
    store_audit(tmp_path, "torch", "2.13.0")
    page = operators_of({"mindspore": "2.10.0", "torch": "2.13.0+cpu"}, tmp_path)
    both = "MindSpore 2.10.0, cpu PyTorch 2.13.0, cpu forward backward forward backward"
    assert f"operator {both} sigmoid 74.9 inf 74.9 inf batch norm 5.5 5.5" in page.text
    assert "2.9.0" not in page.text
    pattern = "in whole blocks of 8: eps outside the root; after them: inside"
    assert f"stock RMSProp {pattern} {pattern}" in page.text
    told = [cell["title"] for cell in cells_of(page)]
    assert "batch norm\nMindSpore 2.10.0, cpu\nrunning_mean: 5.5 at x (9, 3), element (2,)" in told
    # Folded, each of them has all that was measured.
    assert page.text.count("All of") == 2
    assert page.text.count("batch norm y 2.5 1 30 x (2, 3), element (0, 0)") == 2


def test_operators_without_an_audit_say_how_to_make_it(tmp_path):
    store_audit(tmp_path, version="2.9.0")
    page = operators_of({"mindspore": "2.10.0", "torch": "not installed"}, tmp_path)
    assert "No audit of MindSpore 2.10.0 is stored." in page.text
    assert "tinynet parity audit --framework mindspore" in page.text
    assert "PyTorch" not in page.text
    assert cells_of(page) == []
    assert operators_of({"python": "3.11"}, tmp_path).tags == []


def test_operators_of_two_machines_are_both_shown(tmp_path):
    store_audit(tmp_path)
    store_audit(tmp_path, version="2.9.0")
    environment = {"mindspore": "2.10.0 | 2.9.0", "torch": "not installed | 2.13.0+cu130"}
    text = operators_of(environment, tmp_path).text
    assert "MindSpore 2.10.0, cpu MindSpore 2.9.0, cpu forward backward" in text
    assert "No audit of PyTorch 2.13.0 is stored." in text


def test_photographs_and_scores_stand_apart(tmp_path):
    wrong = Comparison("ONNX Runtime", "top-1", 14.3, 1e-9, note="is 28.57 %, expected 42.86 %")
    page = drawn(with_failures(passing_report(), "metrics", wrong), "metrics", tmp_path)
    assert "Photograph mindspore pynative ONNX Runtime coffee.png espresso espresso" in page.text
    assert "top-1 as expected is 28.57 %, expected 42.86 %" in page.text
    assert "best top-1" not in page.text  # those who answered photographs
    for where in ("ONNX Runtime mean loss", "ONNX Runtime, its loop mean loss of the average"):
        assert f"ok metrics {where}" in page.text
    assert page.of_class("plot") == []  # so few places are a table
