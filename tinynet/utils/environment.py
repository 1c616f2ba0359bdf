"""What numbers may depend on beside spec, weights and inputs: versions, machine, variables."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

NOT_INSTALLED = "not installed"

PACKAGES = ("torch", "mindspore", "onnxruntime", "onnx", "numpy", "pillow", "safetensors")

# Environment variables that change how a framework or a library under it computes.
# Source: the manuals of OpenMP, oneDNN, MKL, OpenBLAS, cuBLAS, cuDNN, CUDA, PyTorch, MindSpore.
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "HCCL_DETERMINISTIC",
    "KMP_DETERMINISTIC_REDUCTION",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
_PREFIXES = ("CUBLAS_", "CUDNN_", "DNNL_", "MKL_", "MS_", "OMP_", "ONEDNN_", "OPENBLAS_")


def version(package: str) -> str:
    """Returns the version of an installed package, or :data:`NOT_INSTALLED`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


def environment() -> dict[str, str]:
    """Returns versions, system, processor, and the variables that change numbers, where set.

    No framework is imported.
    """
    return {
        **{package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.platform(),
        "processor": _processor(),
        **{
            name: value
            for name, value in sorted(os.environ.items())
            if name in _VARIABLES or name.startswith(_PREFIXES)
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    # platform.processor() is empty or "x86_64" on most Linux systems.
    return names[0] if names else platform.processor() or platform.machine()
