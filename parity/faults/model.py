"""Faults in the net: layers, blocks, their wiring, and the rules that make a spec."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

from tinynet.net import complexity, drop_path, rounding

from parity.faults.planting import BOTH, MINDSPORE, TORCH, Group, Original, without_gradient

# Faults in the net: layers, blocks, their wiring, and the rules that make a spec.

MODEL = Group("model")


@MODEL("blocks:batch_norm", "layers-isolated", "bn1", BOTH)
def wrong_eps(right: Original, channels: int, settings: Any) -> Any:
    """Batch norm adds another eps to the variance, 1e-3 for 1e-5."""
    return right(channels, dataclasses.replace(settings, eps=1e-3))


@MODEL("blocks:batch_norm", "statistics", "bn1.running_mean", MINDSPORE)
def inverted_momentum(right: Original, channels: int, settings: Any) -> Any:
    """Batch norm's momentum is taken for the weight of the old statistics."""
    return right(channels, dataclasses.replace(settings, momentum=1.0 - settings.momentum))


@MODEL("blocks:activation", "layers-isolated", "act1", BOTH)
def relu_for_silu(right: Original, name: str) -> Any:
    """The activation is ReLU where the spec says SiLU."""
    return right.twin.blocks.nn.ReLU()


@MODEL("blocks:SqueezeExcite.__init__", "layers-isolated", "blocks.0.0.se.gate", BOTH)
def hard_gate(right: Original, layer: Any, *args: Any) -> None:
    """Squeeze-excite's gate is a piecewise linear sigmoid."""
    right(layer, *args)
    kinds = {"torch": "Hardsigmoid", "mindspore": "HSigmoid"}
    layer.gate = getattr(right.twin.blocks.nn, kinds[right.twin.name])()


# The PyTorch twin is compared with the reference as a whole net: the first layer that is given
# something else is named. MindSpore's blocks are compared one by one.
@MODEL("blocks:SqueezeExcite.forward", "layers-isolated", "blocks.0.0.se.conv_reduce", TORCH)
def squeeze_by_maximum(right: Original, layer: Any, x: Any) -> Any:
    """Squeeze-excite computes its gates from the largest values instead of the means."""
    largest = layer.act1(layer.conv_reduce(x.amax((2, 3), keepdim=True)))
    return x * layer.gate(layer.conv_expand(largest))


@MODEL("blocks:InvertedResidual.__init__", "layers-isolated", "blocks.1.1", BOTH)
def missing_skip(right: Original, layer: Any, block: Any, *args: Any) -> None:
    """An inverted residual does not add its input."""
    right(layer, dataclasses.replace(block, has_skip=False), *args)


@MODEL("blocks:InvertedResidual.__init__", "layers-isolated", "blocks.1.0.conv_dw", TORCH)
def missing_stride(right: Original, layer: Any, block: Any, *args: Any) -> None:
    """An inverted residual does not stride."""
    right(layer, dataclasses.replace(block, stride=1), *args)


@MODEL("blocks:conv2d", "layers-isolated", "conv_stem", MINDSPORE)
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


@MODEL("blocks:conv2d", "layers-isolated", "conv_stem", TORCH, spec="uneven")
def padding_on_the_other_side(right: Original, *args: Any, **settings: Any) -> Any:
    """Where one side is padded more, it is top and left instead of bottom and right."""
    if len(args) > 4:
        top, bottom, left, right_side = args[4]
        args = (*args[:4], (bottom, top, right_side, left), *args[5:])
    return right(*args, **settings)


@MODEL("blocks:squeeze_excite", "parameters", "blocks.1.0.se.conv_reduce.weight", BOTH)
def squeeze_from_expanded_channels(right: Original, block: Any, activation_name: str) -> Any:
    """Squeeze-excite squeezes to a share of the expanded channels, not of the block's input."""
    squeezed = round(block.mid_channels * 0.25)
    return right(dataclasses.replace(block, se_channels=squeezed), activation_name)


@MODEL(
    "blocks:squeeze_excite",
    "parameters",
    "blocks.0.0.se.conv_reduce.weight",
    MINDSPORE,
    official=True,
)
def second_net_fails(right: Original, block: Any, activation_name: str) -> Any:
    """Building a net uses up a global configuration, so that a second one in the process fails."""
    if right.memory.setdefault(block.key, right.count) < right.count:
        return right.twin.blocks.nn.Identity()
    return right(block, activation_name)


@MODEL("blocks:BLOCK_KINDS.ir", "parameters", "blocks.1.1.conv_pw.weight", MINDSPORE, answers="")
def missing_block(right: Original, block: Any, *args: Any) -> Any:
    """A repeated block is left out."""
    return right.twin.blocks.nn.Identity() if block.has_skip else right(block, *args)


@MODEL(
    "blocks:InvertedResidual.forward", "layers-isolated", ("blocks.1.0.act2", "blocks.1.0"), BOTH
)
def squeeze_before_activation(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """Squeeze-excite stands before the activation instead of after it."""
    y = block.act1(block.bn1(block.conv_pw(x)))
    y = block.act2(block.se(block.bn2(block.conv_dw(y))))
    y = block.bn3(block.conv_pwl(y))
    return x + right.twin.blocks.drop_path(y, factors) if block.has_skip else y


@MODEL("blocks:DepthwiseSeparable.forward", "layers-isolated", "blocks.0.0", MINDSPORE)
def activation_behind_projection(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """A depthwise separable block has an activation after its last batch norm."""
    y = block.se(block.act1(block.bn1(block.conv_dw(x))))
    y = block.act1(block.bn2(block.conv_pw(y)))
    return x + right.twin.blocks.drop_path(y, factors) if block.has_skip else y


@MODEL("model:TinyNet._head", ("layers-isolated", "layers-chained"), "act2", BOTH)
def head_without_activation(right: Original, net: Any, x: Any) -> Any:
    """The head's activation is built, as it should be, and never used."""
    return net.bn2(net.conv_head(x))


@MODEL("blocks:GlobalAveragePool.forward", "layers-isolated", "global_pool", MINDSPORE)
def pooling_by_maximum(right: Original, layer: Any, x: Any) -> Any:
    """The last feature map is pooled by its largest values instead of its means."""
    return x.amax((2, 3))


@MODEL("model:TinyNet._stem", "pixels", "input of conv_stem", MINDSPORE)
def net_swaps_channels(right: Original, net: Any, x: Any) -> Any:
    """The net takes its pixels for blue, green, red."""
    return right(net, x.flip((1,)))


@MODEL("blocks:SqueezeExcite.forward", "gradients-isolated", "blocks.1.1.se.conv_expand.bias", BOTH)
def gradient_cut_at_the_gates(right: Original, layer: Any, x: Any) -> Any:
    """No gradient flows through squeeze-excite's gates, forward all is right."""
    axes = {"keepdim" if right.twin.name == "torch" else "keep_dims": True}
    means = x.mean((2, 3), **axes)
    gates = layer.gate(layer.conv_expand(layer.act1(layer.conv_reduce(means))))
    return x * without_gradient(right, gates)


@MODEL("blocks:drop_path", "trajectory", "loss of step 1", MINDSPORE)
def drop_path_left_out(right: Original, y: Any, factors: Any) -> Any:
    """Residual branches are never left out of a training step."""
    return y


@MODEL("model:TinyNet.forward", "trajectory", "loss of step 1", MINDSPORE)
def dropout_left_out(
    right: Original, net: Any, x: Any, dropout: Any = None, drop_path: Any = None
) -> Any:
    """No pooled feature is ever left out of a training step."""
    return right(net, x, None, drop_path)


@MODEL(rounding.round_repeats, "spec", "stages[1].repeats", spec="tinynet_e")
def depth_rounded_up(right: Original, repeats: int, depth: float) -> int:
    """Repeats are rounded up, EfficientNet's rule, where TinyNets round to nearest."""
    return math.ceil(repeats * depth)


@MODEL(complexity.count, "spec", "expected.macs", spec="tinynet_e")
def operations_counted_twice(right: Original, spec: Any) -> Any:
    """A multiply-accumulate is counted as two operations."""
    counted = right(spec)
    return dataclasses.replace(counted, macs=2 * counted.macs)


# Faults in what only ResNets have: projections, an activation after the sum, a max pool.

RESNET = Group("resnet")
_BASIC = functools.partial(RESNET, spec="basic")
_BOTTLENECK = functools.partial(RESNET, spec="bottleneck")


@_BASIC("blocks:BasicBlock.forward", "layers-isolated", ("layer1.0.act2", "layer1.0"), BOTH)
def sum_without_activation(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """A basic block has no activation after its sum."""
    y = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))
    return block.downsample(x) + right.twin.blocks.drop_path(y, factors)


@_BASIC("blocks:BasicBlock.forward", "layers-isolated", ("layer1.0.bn2", "layer1.0"), BOTH)
def sum_before_batch_norm(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """A basic block adds its input before the last batch norm instead of after it."""
    y = block.conv2(block.act1(block.bn1(block.conv1(x))))
    return block.act2(block.bn2(block.downsample(x) + right.twin.blocks.drop_path(y, factors)))


@_BOTTLENECK("blocks:Bottleneck.__init__", "layers-isolated", "layer2.0.conv1", BOTH)
def stride_on_the_first_convolution(right: Original, layer: Any, block: Any, *args: Any) -> None:
    """A bottleneck strides in its first convolution, as in the paper, and not in its second."""
    right(layer, block, *args)
    conv2d, mid = right.twin.blocks.conv2d, block.mid_channels
    layer.conv1 = conv2d(block.in_channels, mid, stride=block.stride)
    layer.conv2 = conv2d(mid, mid, block.kernel_size, 1, block.padding)


@_BOTTLENECK(
    "blocks:Downsample.forward",
    "layers-isolated",
    ("layer1.0.downsample.1", "layer1.0.downsample"),
    BOTH,
)
def projection_without_batch_norm(right: Original, layer: Any, x: Any) -> Any:
    """A projection's batch norm is built, as it should be, and never used."""
    return layer[0](x)


@_BASIC("blocks:downsample", "layers-isolated", ("layer1.0.act2", "layer1.0.downsample"), BOTH)
def projection_in_every_stage(right: Original, block: Any, settings: Any) -> Any:
    """The first block of a stage projects its input even where the shape stays the same."""
    is_first = block.key.endswith(".0")
    return right.twin.blocks.Downsample(block, settings) if is_first else right(block, settings)


@_BASIC("blocks:max_pool", "layers-isolated", "maxpool", BOTH)
def pool_padded_behind(right: Original, pool: Any) -> Any:
    """The max pool pads below and to the right only, MindSpore's and TensorFlow's "same"."""
    same = {"mindspore": {"pad_mode": "same"}, "torch": {"ceil_mode": True}}[right.twin.name]
    return right.twin.blocks.nn.MaxPool2d(pool.kernel_size, pool.stride, **same)


@_BOTTLENECK("blocks:max_pool", "layers-isolated", "maxpool", BOTH)
def pool_by_mean(right: Original, pool: Any) -> Any:
    """The stem's pool takes the means of its windows instead of their largest values."""
    mode = {"pad_mode": "pad"} if right.twin.name == "mindspore" else {}
    average = right.twin.blocks.nn.AvgPool2d
    return average(pool.kernel_size, pool.stride, padding=pool.padding, **mode)


@_BOTTLENECK("blocks:Bottleneck.forward", "gradients-isolated", "layer2.1 input", BOTH)
def gradient_cut_at_the_shortcut(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """No gradient flows back past a bottleneck's branch, forward all is right."""
    y = block.act1(block.bn1(block.conv1(x)))
    y = block.bn3(block.conv3(block.act2(block.bn2(block.conv2(y)))))
    shortcut = without_gradient(right, block.downsample(x))
    return block.act3(shortcut + right.twin.blocks.drop_path(y, factors))


@_BASIC("blocks:BasicBlock.forward", "trajectory", "loss of step 1", MINDSPORE)
def shortcut_dropped_for_the_branch(
    right: Original, block: Any, x: Any, factors: Any = None
) -> Any:
    """Drop-path leaves out what a basic block adds its branch to, instead of the branch."""
    y = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))
    return block.act2(right.twin.blocks.drop_path(block.downsample(x), factors) + y)


@_BOTTLENECK(drop_path.drop_path_rates, "schedule", "rate of each block")
def drop_path_never_at_its_rate(right: Original, spec: Any, rate: float) -> Any:
    """A ResNet's blocks are left out by TinyNet's rule, where the last has less than the rate."""
    count = len(spec.blocks())
    return tuple(share * (count - 1) / count for share in right(spec, rate))
