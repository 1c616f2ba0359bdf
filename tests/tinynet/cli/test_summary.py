import dataclasses
import json
import re

import pytest

from tinynet.net.complexity import count, layers
from tinynet.spec import Complexity, format_spec, list_specs, load_spec


@pytest.mark.parametrize("name", list_specs())
def test_json_has_the_promised_fields(run_script, name):
    status, out, err = run_script("summary", name, "--json")
    report, spec = json.loads(out), load_spec(name)
    assert (status, err) == (0, "")
    assert (report["name"], report["input_size"]) == (name, list(spec.input_size))
    assert Complexity(report["macs"], report["params"]) == spec.expected
    for key in ("macs", "params"):
        assert sum(layer[key] for layer in report["layers"]) == report[key]
    assert [layer["key"] for layer in report["layers"]] == [layer.key for layer in layers(spec)]
    assert report["layers"][0]["output_shape"] == [spec.stem.out_channels, *spec.stem_out_size]
    assert report["layers"][-1]["output_shape"] == [spec.num_classes]


def test_the_table_is_aligned_and_tells_the_provenance(run_script):
    status, out, err = run_script("summary", "tinynet_c")
    assert (status, err) == (0, "")
    table, facts = out.split("\n\n")
    rows = table.splitlines()
    assert len(rows) == 1 + len(layers(load_spec("tinynet_c"))) + 1
    assert len({len(row) for row in rows}) == 1
    assert rows[0].split() == ["layer", "output", "MACs", "params"]
    cells = ["blocks.0.0.conv_dw", "depthwise conv 3x3", "32 x 92 x 92", "2,437,632", "288"]
    assert re.split("  +", rows[3]) == cells
    assert rows[-1].split() == ["total", "99,536,432", "2,457,234"]
    assert "efficientnet_b0, resolution x 0.825, depth x 0.85, width x 0.54" in facts
    assert "https://arxiv.org/abs/2010.14819" in facts
    assert "3 x 184 x 184" in facts


def test_without_a_spec_it_lists_the_shipped_ones(run_script):
    status, out, err = run_script("summary")
    assert (status, err) == (0, "")
    assert [row.split()[0] for row in out.splitlines()] == ["name", *list_specs()]
    specs = json.loads(run_script("summary", "--json")[1])["specs"]
    assert [Complexity(spec["macs"], spec["params"]) for spec in specs] == [
        load_spec(name).expected for name in list_specs()
    ]


def test_a_spec_file_without_provenance(run_script, tmp_path):
    spec = load_spec("tinynet_e").with_classes(10)
    file = tmp_path / "mine.json"
    file.write_text(format_spec(dataclasses.replace(spec, name="mine", source="")))
    status, out, err = run_script("summary", file)
    assert (status, err) == (0, "")
    assert f"{count(spec).params:,}" in out
    assert "derivation" not in out
    assert "source" not in out


def test_expected_counts_that_are_wrong_are_an_error(run_script, tmp_path):
    spec = load_spec("tinynet_e")
    wrong = dataclasses.replace(spec, expected=Complexity(24_356_848, 2_042_973))
    file = tmp_path / "wrong.json"
    file.write_text(format_spec(wrong))
    status, out, err = run_script("summary", file)
    assert (status, out) == (2, "")
    assert err == (
        f"error: {file}: expected says 24356848 macs and 2042973 params, "
        "its layers have 24356848 macs and 2042972 params\n"
    )


@pytest.mark.parametrize("spec", ["tinynet_z", "absent.json"])
def test_an_unknown_spec(run_script, spec):
    status, out, err = run_script("summary", spec)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {spec}: ")
    assert err.count("\n") == 1
