"""How the layers of a net are recorded while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from torch_impl.model import Net


@contextmanager
def hooked(
    net: Net, names: list[str], record: Callable[[str, torch.Tensor, torch.Tensor], None]
) -> Iterator[None]:
    """Calls ``record`` with the name, input and output of each layer that runs inside."""

    def hook(name: str) -> Any:
        def called(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            record(name, inputs[0], output)

        return called

    modules = dict(net.named_modules())
    with ExitStack() as stack:
        for name in names:
            stack.callback(modules[name].register_forward_hook(hook(name)).remove)
        yield
