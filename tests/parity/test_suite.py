"""The suite: every check passes for every member.

Compiling graphs takes half of the time, so here only two members run in graph mode as well, one
of each padding and activation; `make parity` runs with all eight in both modes. `make test` runs
TinyNet-E, in both modes, and the smallest one.
"""

import json

import pytest

from tiers import only_in_full

# The largest first, so that the last to finish is a small one.
MEMBERS = [
    "tinynet_a",
    "efficientnet_b0",
    "tinynet_b",
    "efficientnet_lite0",
    "tinynet_c",
    "tinynet_d",
    "tinynet_e",
    "tinynet_digits",
]
CHECKS = [
    "spec",
    "parameters",
    "pixels",
    "layers-isolated",
    "layers-chained",
    "logits",
    "loss",
    "gradients-isolated",
    "gradients-chained",
    "statistics",
    "schedule",
    "optimizer",
    "ema",
    "trajectory",
    "metrics",
    "onnx",
    "checkpoints",
    "resume",
]
IN_GRAPH_MODE_TOO = ("efficientnet_lite0", "tinynet_e")


@pytest.mark.parametrize("member", only_in_full(MEMBERS, ("tinynet_e", "tinynet_digits")))
def test_every_check_passes(member, run_script):
    modes = "pynative,graph" if member in IN_GRAPH_MODE_TOO else "pynative"
    status, out, err = run_script("parity", "--spec", member, "--modes", modes, "--json")
    found = json.loads(out)
    assert found["first_divergence"] is None
    assert found["passed"]
    assert status == 0
    assert [check["name"] for check in found["checks"]] == CHECKS
    assert all(check["compared"] > 0 and check["failed"] == 0 for check in found["checks"])
    # Progress goes to standard error, one line for each check.
    assert err.count("\n") == len(CHECKS)
