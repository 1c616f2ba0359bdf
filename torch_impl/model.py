"""TinyNet and ResNet in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tinynet.net.initialise import initial_state
from tinynet.net.manifest import State, check_shapes, check_state, manifest
from tinynet.spec import Spec

from torch_impl.blocks import (
    BLOCK_KINDS,
    GlobalAveragePool,
    activation,
    batch_norm,
    conv2d,
    max_pool,
)


class Net(nn.Module):
    """What TinyNets and ResNets have in common: the way from pixels to logits.

    A family builds its layers, among them ``global_pool``; it names the sequences of blocks that
    are its ``stages``, and says what is before the first of them and after the last.
    """

    stages: tuple[nn.Module, ...]
    global_pool: nn.Module

    def __init__(self, spec: Spec):
        super().__init__()
        if spec.is_resnet != isinstance(self, ResNet):
            family = "ResNet" if spec.is_resnet else "TinyNet"
            raise ValueError(
                f"{spec.name}: is a {family}, expected a spec for {type(self).__name__}; "
                "make_net(spec) builds the net of any spec"
            )
        self.spec = spec

    def features(self, x: torch.Tensor, drop_path: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the last feature map: (N, C, H, W) pixels to (N, feature_channels, h, w).

        ``drop_path`` (N, blocks) scales the residual branches in training, see tinynet.data.masks.
        """
        x = self._stem(x)
        index = 0
        for stage in self.stages:
            for block in stage.children():
                x = block(x) if drop_path is None else block(x, drop_path[:, index])
                index += 1
        return self._head(x)

    def forward(
        self,
        x: torch.Tensor,
        dropout: torch.Tensor | None = None,
        drop_path: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns logits: (N, C, H, W) pixels to (N, num_classes).

        ``dropout`` (N, feature_channels) scales the pooled features in training and
        ``drop_path`` (N, blocks) the residual branches, see tinynet.data.masks.
        """
        pooled = self.global_pool(self.features(x, drop_path))
        return self._classify(pooled if dropout is None else pooled * dropout)

    def _stem(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _head(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def _classify(self, pooled: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class TinyNet(Net):
    """A member of TinyNet's family: stem, blocks, head, classifier.

    Args:
        spec: what to build.
        state: canonical state to start from; by default ``initial_state(spec, seed=0)``.

    Raises:
        StateError: the state does not fit the spec.
        ValueError: the spec is a ResNet's.

    Example:
        >>> net = TinyNet(load_spec("tinynet_e"))
        >>> net(torch.zeros(1, 3, 106, 106)).shape
        torch.Size([1, 1000])
    """

    def __init__(self, spec: Spec, state: State | None = None):
        super().__init__(spec)
        bn, act, channels = spec.batch_norm, spec.activation, spec.feature_channels
        self.conv_stem = _stem_conv(spec)
        self.bn1 = batch_norm(spec.stem.out_channels, bn)
        self.act1 = activation(act)
        self.stages = _stages(spec)
        self.blocks = nn.Sequential(*self.stages)
        self.conv_head = conv2d(spec.stages[-1].out_channels, channels, bias=bn is None)
        self.bn2 = batch_norm(channels, bn)
        self.act2 = activation(act)
        self.global_pool = GlobalAveragePool()
        self.classifier = nn.Linear(channels, spec.num_classes)
        write_state(self, initial_state(spec, seed=0) if state is None else state)

    def _stem(self, x: torch.Tensor) -> torch.Tensor:
        self._check_size(x)
        return self.act1(self.bn1(self.conv_stem(x)))

    def _head(self, x: torch.Tensor) -> torch.Tensor:
        return self.act2(self.bn2(self.conv_head(x)))

    def _classify(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.classifier(pooled)

    def _check_size(self, x: torch.Tensor) -> None:
        # "same" padding is resolved for one input size; another would be padded wrongly.
        size = self.spec.input_size[1:]
        if self.spec.padding == "same" and tuple(x.shape[2:]) != size:
            raise ValueError(
                f"{self.spec.name}: input is {tuple(x.shape[2:])} pixels, expected {size}, the "
                "size its padding was resolved for"
            )


class ResNet(Net):
    """A member of ResNet's family: stem, stages, classifier. Arguments and errors are TinyNet's.

    Example:
        >>> net = ResNet(load_spec("resnet18"))
        >>> net(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """

    def __init__(self, spec: Spec, state: State | None = None):
        super().__init__(spec)
        stem = spec.stem
        self.conv1 = _stem_conv(spec)
        self.bn1 = batch_norm(stem.out_channels, spec.batch_norm)
        self.act1 = activation(spec.activation)
        self.maxpool = nn.Identity() if stem.pool is None else max_pool(stem.pool)
        self.stages = _stages(spec)
        for index, stage in enumerate(self.stages):
            setattr(self, spec.names.stage_key(index), stage)
        self.global_pool = GlobalAveragePool()
        self.fc = nn.Linear(spec.feature_channels, spec.num_classes)
        write_state(self, initial_state(spec, seed=0) if state is None else state)

    def _stem(self, x: torch.Tensor) -> torch.Tensor:
        return self.maxpool(self.act1(self.bn1(self.conv1(x))))

    def _classify(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc(pooled)


def _stem_conv(spec: Spec) -> nn.Conv2d:
    stem, bias = spec.stem, spec.batch_norm is None
    sizes = stem.out_channels, stem.kernel_size, stem.stride
    return conv2d(spec.input_size[0], *sizes, spec.stem_padding, bias=bias)


def _stages(spec: Spec) -> tuple[nn.Sequential, ...]:
    bn, act = spec.batch_norm, spec.activation
    return tuple(
        nn.Sequential(*(BLOCK_KINDS[block.kind](block, bn, act) for block in stage))
        for stage in spec.blocks_by_stage()
    )


def make_net(spec: Spec, state: State | None = None) -> Net:
    """Builds a net of the family that its spec is of; the arguments are the net's."""
    return ResNet(spec, state) if spec.is_resnet else TinyNet(spec, state)


def canonical_tensors(net: Net) -> dict[str, torch.Tensor]:
    """Returns the tensors of a net by canonical key, in manifest order, as far as it has them."""
    tensors = net.state_dict(keep_vars=True)
    return {key: tensors[key] for key in manifest(net.spec) if key in tensors}


def read_state(net: Net) -> State:
    """Copies the state out of a net: canonical key -> array, in manifest order."""
    tensors = canonical_tensors(net).items()
    # A copy in C order: channels-last weights are strided, and training continues to change them.
    return {key: tensor.detach().cpu().numpy().copy(order="C") for key, tensor in tensors}


def write_state(net: Net, state: Mapping[str, Any]) -> None:
    """Sets every tensor of a net, bit for bit, or none of them.

    Raises:
        StateError: the state does not fit the net's spec exactly.
    """
    checked = check_state(state, net.spec, "state")
    tensors = canonical_tensors(net)
    check_shapes({key: tuple(tensor.shape) for key, tensor in tensors.items()}, net.spec)
    with torch.no_grad():
        for key, array in checked.items():
            tensors[key].copy_(torch.tensor(array))


def in_precision(net: nn.Module, precision: str) -> None:
    """Lets the convolutions and the classifier of a net compute in a lower precision.

    Args:
        net: on its device already; weights and batch norms stay float32.
        precision: "bfloat16" or "float16"; any other changes nothing.
    """
    if precision in ("bfloat16", "float16"):
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                cast = torch.autocast(layer.weight.device.type, getattr(torch, precision))
                layer.forward = cast(layer.forward)
