"""What MindSpore's numbers depend on beside its version: its own switches, and the processor."""

from __future__ import annotations

import mindspore as ms


def settings(device: str) -> dict[str, str]:
    """Returns the framework's switches that change numbers, and the accelerator, as texts."""
    found = {
        "deterministic": str(ms.get_context("deterministic") == "ON"),
        "jit level": ms.get_context("jit_level") or "default",
        "threads": str(ms.get_context("runtime_num_threads")),
    }
    if device != "cpu":
        found["accelerator"] = ms.hal.get_device_name(0)
        found["precision mode"] = ms.get_context("precision_mode") or "default"
    return found
