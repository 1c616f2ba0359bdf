"""The benchmark runs and reports; what it measures is for people, and no test depends on it."""

import json
import re


def test_the_torch_workload_reports(run_script, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the script sets for its process
    arguments = ("torch", "--spec", "tinynet_digits", "--batch-size", 2, "--rounds", 1)
    status, out, err = run_script("benchmark", *arguments, "--json")
    assert status == 0
    assert "3 of 3 rounds" in err
    report = json.loads(out)
    assert (report["workload"], report["spec"]) == ("torch", "tinynet_digits")
    twin = report["seconds"]["twin"]
    assert 0 < twin["min"] == twin["median"] == twin["max"]
    update = report["seconds"]["optimizer and average"]["median"]
    assert report["ratios"]["optimizer and average"] == update / twin["median"]
    status, out, _ = run_script("benchmark", *arguments)
    assert status == 0
    assert re.search(r"optimizer and average / twin: 0\.\d+", out)


def test_the_benchmark_refuses(run_script):
    status, out, err = run_script("benchmark", "torch", "--spec", "tinynet_z")
    assert (status, out) == (2, "")
    assert err.startswith("error: tinynet_z: no such spec")
    status, _, err = run_script("benchmark", "jax")
    assert status == 2
    assert "jax" in err
