"""The first proof: every check passes for every member.

Compiling graphs takes half of the time, so here only two members run in graph mode as well, one
of each padding and activation; `make parity` runs with all eight in both modes.
"""

import json

import pytest

# The largest first, so that the last to finish is a small one.
MEMBERS = [
    "tinynet_a", "efficientnet_b0", "tinynet_b", "efficientnet_lite0",
    "tinynet_c", "tinynet_d", "tinynet_e", "tinynet_digits",
]  # fmt: skip
CHECKS = [
    "spec", "parameters", "pixels", "layers-isolated", "layers-chained", "logits", "loss",
    "gradients-isolated", "gradients-chained", "statistics", "schedule", "optimizer", "ema",
    "trajectory", "metrics", "onnx", "checkpoints", "resume",
]  # fmt: skip


IN_GRAPH_MODE_TOO = ("efficientnet_lite0", "tinynet_e")


@pytest.mark.parametrize("member", MEMBERS)
def test_every_rung_passes(member, run_script):
    modes = "pynative,graph" if member in IN_GRAPH_MODE_TOO else "pynative"
    status, out, err = run_script("parity", "--spec", member, "--modes", modes, "--json")
    found = json.loads(out)
    assert found["first_divergence"] is None
    assert found["passed"]
    assert status == 0
    assert [check["name"] for check in found["checks"]] == CHECKS
    assert all(check["compared"] > 0 and check["failed"] == 0 for check in found["checks"])
    # Progress goes to standard error, a line a check.
    assert err.count("\n") == len(CHECKS)
