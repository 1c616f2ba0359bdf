"""What contestants of several workloads are made with. Peers are optional installs."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

from tinynet.backend import Backend, BackendError, load_backend

from benchmarks.harness import Job, UnavailableError


def peer(module: str) -> Any:
    """Imports what is no dependency, by name, since it has no types either.

    Raises:
        UnavailableError: saying what to install.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        # torchvision, which timm imports, raises RuntimeError beside another PyTorch than its own.
        package = module.partition(".")[0]
        raise UnavailableError(
            f"{package} cannot be imported ({error}): pip install {package}"
        ) from None


def twin(name: str) -> Backend:
    """Returns a twin, and sets this process up for it.

    Raises:
        UnavailableError: its framework is not installed.
    """
    try:
        return load_backend(name, tune=True)
    except BackendError as error:
        raise UnavailableError(str(error)) from None


def use_threads(threads: int) -> None:
    """Lets PyTorch compute with so many threads."""
    import torch

    torch.set_num_threads(threads)


def allow_tf32(precision: str) -> None:
    """Lets CUDA compute float32 in TF32, or not: by default PyTorch does in convolutions alone."""
    import torch

    backends: Any = torch.backends  # whose attributes PyTorch's types do not know
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = precision == "tf32"


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[object]:
    """What computes in a short precision inside; nothing where the precision is none."""
    import torch

    if precision in ("bfloat16", "float16"):
        return torch.autocast(device, getattr(torch, precision))
    return contextlib.nullcontext()


def device_job(once: Callable[[], object], device: str) -> Job:
    """A job of PyTorch, which a GPU has done only when it has caught up."""
    import torch

    return Job(once, torch.cuda.synchronize) if device == "cuda" else Job(once)


def timm_net(name: str) -> Any:
    """The net of a spec in timm, untrained.

    Raises:
        UnavailableError: timm is not here, or has no such net.
    """
    timm = peer("timm")
    if not timm.is_model(name):
        raise UnavailableError(f"timm has no {name}")
    return timm.create_model(name)
