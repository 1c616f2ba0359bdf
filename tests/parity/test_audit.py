"""The audit of operators: what it finds in the frameworks, and that it finds what is planted."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from parity.audit import run
from parity.audit.compare import format_comparison, pair_rows
from parity.audit.harness import OperatorComparison
from parity.audit.page import HEADS, operator_rows, render_comparison
from parity.audit.results import DIRECTORY, Audit, Row, load_audit, save_audit
from parity.audit.run import OPERATORS, audit

ROOT = Path(__file__).parents[2]
FILES = {path.name.partition("-")[0]: path for path in DIRECTORY.glob("*-cpu.json")}
INSIDE = "eps inside the root, mean square from 1"
OUTSIDE = "eps outside the root, mean square from 1"


@pytest.fixture(scope="module")
def stored():
    return {name: load_audit(path) for name, path in FILES.items()}


def rows(found):
    return {(row.operator, row.quantity): row for row in found.rows}


# What it finds


# Of every kind one, since MindSpore takes a second or more for each convolution.
SAMPLE = (
    "convolution depthwise 5x5",
    "dense",
    "batch norm in training",
    "batch norm in training on flat areas",
    "SiLU",
    "mean",
    "means as gates",
    "log-softmax",
    "cross entropy",
    "RMSProp",
    "SGD",
    "average",
    "stock RMSProp in five steps",
)


@pytest.mark.parametrize("framework", ["torch", "mindspore"])
def test_what_is_stored_holds_here(framework, stored):
    before, now = rows(stored[framework]), rows(audit(framework, operators=SAMPLE))
    assert len(now) > 30
    for key, row in now.items():
        assert row.arrays == before[key].arrays
        # A result that is right but for its own rounding may be off by one unit.
        assert row.largest <= 2 * max(before[key].largest, 1), (row, before[key])
        assert before[key].largest <= 2 * max(row.largest, 1), (row, before[key])


def test_every_operator_is_stored_for_both_frameworks(stored):
    assert set(stored) == {"torch", "mindspore"}
    for found in stored.values():
        assert list(dict.fromkeys(row.operator for row in found.rows)) == list(OPERATORS)
        assert found.sizes == run.SIZES
        assert found.file_name in {path.name for path in FILES.values()}
        assert found.command.startswith("python scripts/parity.py audit --framework ")


def test_mindspores_stock_rmsprop_has_two_formulas_in_blocks_of_eight(stored):
    name = "stock RMSProp in five steps"
    for found in (audit("mindspore", operators=[name]), stored["mindspore"]):
        pattern = found.patterns[name]
        assert (pattern.kind, pattern.length) == ("whole blocks", 8)
        assert pattern.positions == {OUTSIDE: "0-31", INSIDE: "32"}


def test_the_twins_own_rmsprop_has_one_formula_and_pytorchs_stock_one_is_another(stored):
    for found in stored.values():
        own = found.patterns["RMSProp in five steps"]
        assert (own.kind, list(own.positions)) == ("one formula", [INSIDE])
    pytorchs = stored["torch"].patterns["stock RMSProp in five steps"]
    assert list(pytorchs.positions) == ["eps outside the root, mean square from 0"]


# Errors in units of rounding


def comparison(found, truth, terms):
    return OperatorComparison(
        "y", "x (2,)", *(np.array(v, np.float64) for v in (found, truth, terms))
    )


def test_a_unit_is_a_rounding_of_the_terms():
    error = 3 * 2.0**-24 * 8
    one = comparison([1 + error, 5], [1, 5], [8, 1])
    other = comparison([1, 5], [1, 5], [8, 1])
    row = run._row("op", "y", [other, one, other])
    assert row == Row("op", "y", 3.0, "x (2,), element (0,)", 0.0, 3)


def test_without_terms_the_unit_is_that_of_the_smallest_normal_number():
    assert run._row("op", "y", [comparison([0], [0], [0])]).largest == 0
    assert run._row("op", "y", [comparison([2.0**-150], [0], [0])]).largest == 1


def test_a_result_of_another_shape_is_infinitely_far():
    assert run._row("op", "y", [comparison([[1.0, 2.0]], [1, 2], [1, 1])]).largest == math.inf


# Files and comparisons


@pytest.fixture
def small():
    table = (
        Row("mean", "y", 2.0, "x (1, 2)", 1.0, 3),
        Row("mean", "dx", 1.0, "x (1, 3)", 1.0, 3),
        Row("SiLU", "y", 0.0, "x (1, 4)", 0.0, 3),
    )
    return Audit("torch", "2.0", "cpu", "Linux", "python a", "2026-01-01", (1, 2), table, {})


def test_an_audit_survives_its_file(small, tmp_path, stored):
    worse = (dataclasses.replace(small.rows[0], largest=math.inf), *small.rows[1:])
    for found in (small, dataclasses.replace(small, rows=worse), *stored.values()):
        path = save_audit(found, tmp_path / "new")
        assert path.name == found.file_name
        assert load_audit(path) == found
    assert '"largest": null' not in (tmp_path / "new" / "torch-2.13.0-cpu.json").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audit_version": 2}, "audit_version is 2, expected 1, the only one there is"),
        ({"sizes": []}, "sizes is [], expected numbers"),
        ({"framework": "jax"}, 'framework is "jax", expected one of torch, mindspore'),
        ({"rows": [{}]}, 'the key "operator" is missing in rows[0], expected a text'),
        ({"version": "../x"}, 'version is "../x", expected a name'),
    ],
)
def test_what_is_no_audit_is_refused_in_one_line(change, message, small, tmp_path):
    path = save_audit(small, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=re.escape(message)):
        load_audit(path)


def test_pairs_stand_in_the_order_of_their_distance(small):
    changed = [
        dataclasses.replace(row, largest=row.largest * f)
        for row, f in zip(small.rows, (2, 0.1, 1), strict=True)
    ]
    extra = Row("dense", "y", 1.0, "x (9, 9)", 1.0, 3)
    other = dataclasses.replace(small, framework="mindspore", rows=(*changed, extra))
    pairs = pair_rows(small, other)
    assert [(p.operator, p.quantity) for p in pairs] == [
        ("dense", "y"),
        ("mean", "dx"),
        ("mean", "y"),
        ("SiLU", "y"),
    ]
    assert [p.ratio for p in pairs[1:]] == [0.1, 2.0, 1.0]
    lines = format_comparison(small, other).splitlines()
    assert lines[3].split() == ["dense", "y", "1", "only", "one", "x", "(9,", "9)"]
    assert lines[4].split()[2:5] == ["1", "0.1", "0.1"]


def test_an_infinite_error_comes_first_and_has_no_ratio(small):
    worse = (*small.rows[:2], dataclasses.replace(small.rows[2], largest=math.inf))
    pairs = pair_rows(small, dataclasses.replace(small, rows=worse))
    assert pairs[0].operator == "SiLU"
    assert math.isnan(pairs[0].ratio)
    assert "not finite" in format_comparison(small, dataclasses.replace(small, rows=worse))


def test_the_page_has_every_row_and_needs_nothing_beside_it(stored):
    page = render_comparison(stored["torch"], stored["mindspore"])
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert page.count('<th scope="row"') == len(stored["torch"].rows) + len(
        stored["torch"].patterns
    )
    assert "in whole blocks of 8" in page
    assert page.index("batch norm in training on flat areas") < page.index("residual sum")


def test_a_row_of_the_table_has_a_cell_for_every_head(stored):
    table = operator_rows(stored["torch"])
    assert len(table) == len(stored["torch"].rows)
    assert {len(row) for row in table} == {len(HEADS)}


# The page of documentation


def test_the_tables_of_the_documentation_are_the_stored_audits(stored):
    text = (ROOT / "docs" / "operators.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    first, second = stored["torch"], stored["mindspore"]
    for pair in pair_rows(first, second):
        sizes = [f"{row.largest:.3g} ({row.median:.3g})" for row in (pair.first, pair.second)]
        expected = f"| {pair.operator} | `{pair.quantity}` | {sizes[0]} | {sizes[1]} |"
        assert expected in lines
    for name in first.patterns:
        formulas = " | ".join(str(found.patterns[name]) for found in (first, second))
        assert f"| {name} | {formulas} |" in lines
    assert f"| operator | result | {first.title} | {second.title} |" in lines
    assert len(lines) == len(first.rows) + 2 + len(first.patterns) + 2
    for found in stored.values():
        again = f"tinynet parity audit --framework {found.framework} --output parity/audit/stored"
        assert again in text


# The command


def test_the_command_audits_one_framework(run_script, tmp_path):
    status, out, err = run_script(
        "parity",
        "audit",
        "--framework",
        "torch",
        "--operators",
        "SiLU,mean",
        "--sizes",
        "1-3,8",
        "--output",
        tmp_path,
        "--json",
    )
    found = json.loads(out)
    assert (status, found["framework"], found["sizes"]) == (0, "torch", [1, 2, 3, 8])
    assert [row["operator"] for row in found["rows"]] == ["SiLU", "SiLU", "mean", "mean"]
    (path,) = tmp_path.iterdir()
    assert str(path) in err
    assert load_audit(path).command.startswith("python scripts/parity.py audit --framework torch")


def test_the_command_compares_two_audits(run_script, tmp_path):
    files = FILES["torch"], FILES["mindspore"]
    status, out, _ = run_script("parity", "audit", "--compare", *files, "--report", tmp_path)
    assert status == 0
    assert "in whole blocks of 8" in out
    assert f"report: {tmp_path / 'operators.html'}" in out
    assert "in whole blocks of 8" in (tmp_path / "operators.html").read_text()
    status, out, _ = run_script("parity", "audit", "--compare", *files, "--json")
    assert json.loads(out)["rows"][0]["ratio"] > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --framework or --compare is needed, and not both"),
        (("--framework", "torch", "--compare", "a", "b"), "either --framework or --compare"),
        (("--framework", "torch", "--operators", "conv"), "operators are conv, expected some of"),
        (("--framework", "torch", "--sizes", "1-x"), "--sizes has '1-x', expected a number or"),
        (("--framework", "torch", "--sizes", "0"), "sizes are 0, expected some from 1"),
        (("--framework", "torch", "--device", "tpu"), "device is 'tpu', expected one of cpu, cuda"),
        (("--compare", "no.json", "no.json"), "no.json: cannot be read"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(arguments, message, run_script):
    status, out, err = run_script("parity", "audit", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
