"""What PyTorch's numbers depend on beside its version: its own switches, and the processor."""

from __future__ import annotations

from typing import Any

import torch


def settings(device: str) -> dict[str, str]:
    """Returns the framework's switches that change numbers, and the accelerator, as texts."""
    backends: Any = torch.backends  # whose attributes PyTorch's types do not know
    found = {
        "deterministic": str(torch.are_deterministic_algorithms_enabled()),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
    if device == "cuda":
        found |= {
            "accelerator": torch.cuda.get_device_name(),
            "CUDA": str(torch.version.cuda),
            "cuDNN": str(backends.cudnn.version()),
            "cuDNN benchmark": str(backends.cudnn.benchmark),
            "cuDNN deterministic": str(backends.cudnn.deterministic),
        }
    return found
