"""From a batch of the loader to tensors on the device, in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from tinynet.backend.values import Tensors
from tinynet.data.loader import TrainingBatch
from tinynet.spec import Preprocessing

from torch_impl.distributed import Device


class Normalise(nn.Module):
    """uint8 (N, H, W, C) brightnesses to normalised float32 (N, C, H, W) pixels.

    On the device, because a byte travels four times faster than a float; with the operations, and
    so the bits, of tinynet.data.preprocessing.
    """

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        self.mean = _per_channel(preprocessing.mean)
        self.std = _per_channel(preprocessing.std)
        # A tensor, since CUDA multiplies by the reciprocal of a number, which rounds otherwise.
        self.white = torch.tensor(255.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # The permuted view is channels-last in memory, which the convolutions like best.
        brightness = images.permute(0, 3, 1, 2).float() / self.white.to(images.device)
        return (brightness - self.mean.to(images.device)) / self.std.to(images.device)


def to_device(batch: TrainingBatch, device: Device) -> Tensors[torch.Tensor]:
    """Copies a batch to the device, in the background where it can be."""
    return Tensors(
        _tensor(batch.images, device),
        _tensor(batch.labels, device),
        None if batch.dropout is None else _tensor(batch.dropout, device),
        None if batch.drop_path is None else _tensor(batch.drop_path, device),
    )


def _tensor(array: NDArray[Any], device: Device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _per_channel(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
