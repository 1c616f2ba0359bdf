"""Physical limits: what a job of so many multiply-accumulates and bytes cannot do without."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tinynet.net.complexity import count, layers
from tinynet.spec import Spec, load_spec

from benchmarks.harness import Contestant, Job
from benchmarks.peers import allow_tf32, device_job, use_threads

# As many rows and columns let a matrix product run at full speed, by device.
_SIDE = {"cpu": 1024, "cuda": 8192}
_BYTES = {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}


def limits(net: Mapping[str, Any], passes: int) -> list[Contestant]:
    """Both limits as sides of a race.

    Args:
        net: name, batch, threads, device and precision, as :func:`product` takes them.
        passes: as there.
    """
    arguments = {**net, "passes": passes}
    return [
        Contestant("matrix product, as many MACs", product, arguments, limit=True),
        Contestant("copy, as many bytes", copy, arguments, limit=True),
    ]


def product(name: str, batch: int, passes: int, threads: int, device: str, precision: str) -> Job:
    """A matrix product with the multiply-accumulates of a batch, square or deeper than wide.

    Args:
        name: of the spec.
        batch: images.
        passes: 1 forward; 3 with the gradients of inputs and of weights, each of which costs as
            much again.
        threads: of PyTorch.
        device: "cpu" or "cuda".
        precision: of the factors.
    """
    import torch

    use_threads(threads)
    macs = passes * batch * count(load_spec(name)).macs
    side = min(_SIDE[device], round(macs ** (1 / 3)))
    inner = round(macs / side**2)
    allow_tf32(precision)
    dtype = getattr(torch, precision, torch.float32)
    left = torch.randn(side, inner, device=device).to(dtype)
    right = torch.randn(inner, side, device=device).to(dtype)
    out = torch.empty(side, side, dtype=dtype, device=device)

    def once() -> None:
        torch.mm(left, right, out=out)

    return device_job(once, device)


def copy(name: str, batch: int, passes: int, threads: int, device: str, precision: str) -> Job:
    """A copy in memory that reads and writes as many bytes as the convolutions of a batch do.

    Each reads its input and writes its output once a pass; all that stands between them is
    counted as fused. The arguments are those of :func:`product`.
    """
    import torch

    use_threads(threads)
    numbers = passes * batch * _numbers(load_spec(name)) * _BYTES[precision] // 2
    source = torch.zeros(math.ceil(numbers), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return device_job(lambda: target.copy_(source), device)


def _numbers(spec: Spec) -> int:
    # Read and written for one image.
    total, size = 0, math.prod(spec.input_size[1:])
    for layer in layers(spec):
        if layer.op == "batch_norm":
            continue
        area = math.prod(layer.output_shape[1:])
        # Squeeze-excite reads means, and does not change the size of the image.
        total += layer.in_channels * (size if area > 1 else 1) + layer.activations
        size = area if area > 1 else size
    return total
