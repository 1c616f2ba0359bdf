"""The first proof: every rung passes for every member, in both modes of MindSpore."""

import json

import pytest

# The largest first, so that the last to finish is a small one.
MEMBERS = [
    "tinynet_a", "efficientnet_b0", "tinynet_b", "efficientnet_lite0",
    "tinynet_c", "tinynet_d", "tinynet_e",
]  # fmt: skip
RUNGS = [
    "spec", "parameters", "pixels", "layers-isolated", "layers-chained", "logits", "loss",
    "gradients", "statistics", "onnx", "predictions", "checkpoints",
]  # fmt: skip


@pytest.mark.parametrize("member", MEMBERS)
def test_every_rung_passes(member, run_script):
    status, out, err = run_script("parity", "--spec", member, "--json")
    found = json.loads(out)
    assert found["first_divergence"] is None
    assert found["passed"]
    assert status == 0
    assert [rung["name"] for rung in found["rungs"]] == RUNGS
    assert all(rung["compared"] > 0 and rung["failed"] == 0 for rung in found["rungs"])
    # Progress goes to standard error, a line a rung.
    assert err.count("\n") == len(RUNGS)
