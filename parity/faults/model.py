"""Faults in the net: layers, blocks, their wiring, and the rules that make a spec."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tinynet.net import complexity, rounding

from parity.faults.planting import BOTH, Group, Original, without_gradient

GROUP = Group("model")


@GROUP.fault("blocks:batch_norm", "layers-isolated", "bn1", BOTH)
def wrong_eps(right: Original, channels: int, settings: Any) -> Any:
    """Batch norm adds another eps to the variance, 1e-3 for 1e-5."""
    return right(channels, dataclasses.replace(settings, eps=1e-3))


@GROUP.fault("blocks:batch_norm", "statistics", "bn1.running_mean", ("mindspore",))
def inverted_momentum(right: Original, channels: int, settings: Any) -> Any:
    """Batch norm's momentum is taken for the weight of the old statistics."""
    return right(channels, dataclasses.replace(settings, momentum=1.0 - settings.momentum))


@GROUP.fault("blocks:activation", "layers-isolated", "act1", BOTH)
def relu_for_silu(right: Original, name: str) -> Any:
    """The activation is ReLU where the spec says SiLU."""
    return right.twin.blocks.nn.ReLU()


@GROUP.fault("blocks:SqueezeExcite.__init__", "layers-isolated", "blocks.0.0.se.gate", BOTH)
def hard_gate(right: Original, layer: Any, *args: Any) -> None:
    """Squeeze-excite's gate is a piecewise linear sigmoid."""
    right(layer, *args)
    kinds = {"torch": "Hardsigmoid", "mindspore": "HSigmoid"}
    layer.gate = getattr(right.twin.blocks.nn, kinds[right.twin.name])()


# The PyTorch twin is compared with the reference as a whole net: the first layer that is given
# something else is named. MindSpore's blocks are compared one by one.
@GROUP.fault(
    "blocks:SqueezeExcite.forward", "layers-isolated", "blocks.0.0.se.conv_reduce", ("torch",)
)
def squeeze_by_maximum(right: Original, layer: Any, x: Any) -> Any:
    """Squeeze-excite computes its gates from the largest values instead of the means."""
    largest = layer.act1(layer.conv_reduce(x.amax((2, 3), keepdim=True)))
    return x * layer.gate(layer.conv_expand(largest))


@GROUP.fault("blocks:InvertedResidual.__init__", "layers-isolated", "blocks.1.1", BOTH)
def missing_skip(right: Original, layer: Any, block: Any, *args: Any) -> None:
    """An inverted residual does not add its input."""
    right(layer, dataclasses.replace(block, has_skip=False), *args)


@GROUP.fault(
    "blocks:InvertedResidual.__init__", "layers-isolated", "blocks.1.0.conv_dw", ("torch",)
)
def missing_stride(right: Original, layer: Any, block: Any, *args: Any) -> None:
    """An inverted residual does not stride."""
    right(layer, dataclasses.replace(block, stride=1), *args)


@GROUP.fault("blocks:conv2d", "layers-isolated", "conv_stem", ("mindspore",))
def default_padding(
    right: Original,
    inside: int,
    out: int,
    size: int = 1,
    stride: int = 1,
    padding: Any = (),
    groups: int = 1,
    bias: bool = False,
) -> Any:
    """Convolutions pad as MindSpore does when it is not told how."""
    return right.twin.blocks.nn.Conv2d(inside, out, size, stride, group=groups, has_bias=bias)


@GROUP.fault("blocks:conv2d", "layers-isolated", "conv_stem", ("torch",), spec="uneven")
def padding_on_the_other_side(right: Original, *args: Any, **settings: Any) -> Any:
    """Where one side is padded more, it is top and left instead of bottom and right."""
    if len(args) > 4:
        top, bottom, left, right_side = args[4]
        args = (*args[:4], (bottom, top, right_side, left), *args[5:])
    return right(*args, **settings)


@GROUP.fault("blocks:squeeze_excite", "parameters", "blocks.1.0.se.conv_reduce.weight", BOTH)
def squeeze_from_expanded_channels(right: Original, block: Any, activation_name: str) -> Any:
    """Squeeze-excite squeezes to a share of the expanded channels, not of the block's input."""
    squeezed = round(block.mid_channels * 0.25)
    return right(dataclasses.replace(block, se_channels=squeezed), activation_name)


@GROUP.fault(
    "blocks:squeeze_excite",
    "parameters",
    "blocks.0.0.se.conv_reduce.weight",
    ("mindspore",),
    official=True,
)
def second_net_fails(right: Original, block: Any, activation_name: str) -> Any:
    """Building a net uses up a global configuration, so that a second one in the process fails."""
    if right.memory.setdefault(block.key, right.count) < right.count:
        return right.twin.blocks.nn.Identity()
    return right(block, activation_name)


@GROUP.fault(
    "blocks:BLOCK_KINDS.ir", "parameters", "blocks.1.1.conv_pw.weight", ("mindspore",), answers=""
)
def missing_block(right: Original, block: Any, *args: Any) -> Any:
    """A repeated block is left out."""
    return right.twin.blocks.nn.Identity() if block.has_skip else right(block, *args)


@GROUP.fault(
    "blocks:InvertedResidual.forward",
    "layers-isolated",
    {"torch": "blocks.1.0.act2", "mindspore": "blocks.1.0"},
    BOTH,
)
def squeeze_before_activation(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """Squeeze-excite stands before the activation instead of after it."""
    y = block.act1(block.bn1(block.conv_pw(x)))
    y = block.act2(block.se(block.bn2(block.conv_dw(y))))
    y = block.bn3(block.conv_pwl(y))
    return x + right.twin.blocks.drop_path(y, factors) if block.has_skip else y


@GROUP.fault("blocks:DepthwiseSeparable.forward", "layers-isolated", "blocks.0.0", ("mindspore",))
def activation_behind_projection(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """A depthwise separable block has an activation after its last batch norm."""
    y = block.se(block.act1(block.bn1(block.conv_dw(x))))
    y = block.act1(block.bn2(block.conv_pw(y)))
    return x + right.twin.blocks.drop_path(y, factors) if block.has_skip else y


@GROUP.fault(
    "model:TinyNet._head", {"mindspore": "layers-chained", "torch": "layers-isolated"}, "act2", BOTH
)
def head_without_activation(right: Original, net: Any, x: Any) -> Any:
    """The head's activation is built, as it should be, and never used."""
    return net.bn2(net.conv_head(x))


@GROUP.fault("blocks:GlobalAveragePool.forward", "layers-isolated", "global_pool", ("mindspore",))
def pooling_by_maximum(right: Original, layer: Any, x: Any) -> Any:
    """The last feature map is pooled by its largest values instead of its means."""
    return x.amax((2, 3))


@GROUP.fault("model:TinyNet._stem", "pixels", "input of conv_stem", ("mindspore",))
def net_swaps_channels(right: Original, net: Any, x: Any) -> Any:
    """The net takes its pixels for blue, green, red."""
    return right(net, x.flip((1,)))


@GROUP.fault(
    "blocks:SqueezeExcite.forward", "gradients-isolated", "blocks.1.1.se.conv_expand.bias", BOTH
)
def gradient_cut_at_the_gates(right: Original, layer: Any, x: Any) -> Any:
    """No gradient flows through squeeze-excite's gates, forward all is right."""
    axes = {"keepdim" if right.twin.name == "torch" else "keep_dims": True}
    means = x.mean((2, 3), **axes)
    gates = layer.gate(layer.conv_expand(layer.act1(layer.conv_reduce(means))))
    return x * without_gradient(right, gates)


@GROUP.fault("blocks:drop_path", "trajectory", "loss of step 1", ("mindspore",))
def drop_path_left_out(right: Original, y: Any, factors: Any) -> Any:
    """Residual branches are never left out of a training step."""
    return y


@GROUP.fault("model:TinyNet.forward", "trajectory", "loss of step 1", ("mindspore",))
def dropout_left_out(
    right: Original, net: Any, x: Any, dropout: Any = None, drop_path: Any = None
) -> Any:
    """No pooled feature is ever left out of a training step."""
    return right(net, x, None, drop_path)


@GROUP.fault(rounding.round_repeats, "spec", "stages[1].repeats", spec="tinynet_e")
def depth_rounded_up(right: Original, repeats: int, depth: float) -> int:
    """Repeats are rounded up, EfficientNet's rule, where TinyNets round to nearest."""
    return math.ceil(repeats * depth)


@GROUP.fault(complexity.count, "spec", "expected.macs", spec="tinynet_e")
def operations_counted_twice(right: Original, spec: Any) -> Any:
    """A multiply-accumulate is counted as two operations."""
    counted = right(spec)
    return dataclasses.replace(counted, macs=2 * counted.macs)
