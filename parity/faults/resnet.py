"""Faults in what only ResNets have: projections, an activation after the sum, a max pool."""

from __future__ import annotations

from typing import Any

from tinynet.net import drop_path

from parity.faults.planting import BOTH, Group, Original, without_gradient

GROUP = Group("resnet")


@GROUP.fault(
    "blocks:BasicBlock.forward",
    "layers-isolated",
    {"torch": "layer1.0.act2", "mindspore": "layer1.0"},
    BOTH,
    spec="basic",
)
def sum_without_activation(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """A basic block has no activation after its sum."""
    y = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))
    return block.downsample(x) + right.twin.blocks.drop_path(y, factors)


@GROUP.fault(
    "blocks:BasicBlock.forward",
    "layers-isolated",
    {"torch": "layer1.0.bn2", "mindspore": "layer1.0"},
    BOTH,
    spec="basic",
)
def sum_before_batch_norm(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """A basic block adds its input before the last batch norm instead of after it."""
    y = block.conv2(block.act1(block.bn1(block.conv1(x))))
    return block.act2(block.bn2(block.downsample(x) + right.twin.blocks.drop_path(y, factors)))


@GROUP.fault(
    "blocks:Bottleneck.__init__", "layers-isolated", "layer2.0.conv1", BOTH, spec="bottleneck"
)
def stride_on_the_first_convolution(right: Original, layer: Any, block: Any, *args: Any) -> None:
    """A bottleneck strides in its first convolution, as in the paper, and not in its second."""
    right(layer, block, *args)
    conv2d, mid = right.twin.blocks.conv2d, block.mid_channels
    layer.conv1 = conv2d(block.in_channels, mid, stride=block.stride)
    layer.conv2 = conv2d(mid, mid, block.kernel_size, 1, block.padding)


@GROUP.fault(
    "blocks:Downsample.forward",
    "layers-isolated",
    {"torch": "layer1.0.downsample.1", "mindspore": "layer1.0.downsample"},
    BOTH,
    spec="bottleneck",
)
def projection_without_batch_norm(right: Original, layer: Any, x: Any) -> Any:
    """A projection's batch norm is built, as it should be, and never used."""
    return layer[0](x)


@GROUP.fault(
    "blocks:downsample",
    "layers-isolated",
    {"torch": "layer1.0.act2", "mindspore": "layer1.0.downsample"},
    BOTH,
    spec="basic",
)
def projection_in_every_stage(right: Original, block: Any, settings: Any) -> Any:
    """The first block of a stage projects its input even where the shape stays the same."""
    is_first = block.key.endswith(".0")
    return right.twin.blocks.Downsample(block, settings) if is_first else right(block, settings)


@GROUP.fault("blocks:max_pool", "layers-isolated", "maxpool", BOTH, spec="basic")
def pool_padded_behind(right: Original, pool: Any) -> Any:
    """The max pool pads below and to the right only, MindSpore's and TensorFlow's "same"."""
    same = {"mindspore": {"pad_mode": "same"}, "torch": {"ceil_mode": True}}[right.twin.name]
    return right.twin.blocks.nn.MaxPool2d(pool.kernel_size, pool.stride, **same)


@GROUP.fault("blocks:max_pool", "layers-isolated", "maxpool", BOTH, spec="bottleneck")
def pool_by_mean(right: Original, pool: Any) -> Any:
    """The stem's pool takes the means of its windows instead of their largest values."""
    mode = {"pad_mode": "pad"} if right.twin.name == "mindspore" else {}
    average = right.twin.blocks.nn.AvgPool2d
    return average(pool.kernel_size, pool.stride, padding=pool.padding, **mode)


@GROUP.fault(
    "blocks:Bottleneck.forward", "gradients-isolated", "layer2.1 input", BOTH, spec="bottleneck"
)
def gradient_cut_at_the_shortcut(right: Original, block: Any, x: Any, factors: Any = None) -> Any:
    """No gradient flows back past a bottleneck's branch, forward all is right."""
    y = block.act1(block.bn1(block.conv1(x)))
    y = block.bn3(block.conv3(block.act2(block.bn2(block.conv2(y)))))
    shortcut = without_gradient(right, block.downsample(x))
    return block.act3(shortcut + right.twin.blocks.drop_path(y, factors))


@GROUP.fault(
    "blocks:BasicBlock.forward", "trajectory", "loss of step 1", ("mindspore",), spec="basic"
)
def shortcut_dropped_for_the_branch(
    right: Original, block: Any, x: Any, factors: Any = None
) -> Any:
    """Drop-path leaves out what a basic block adds its branch to, instead of the branch."""
    y = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))
    return block.act2(right.twin.blocks.drop_path(block.downsample(x), factors) + y)


@GROUP.fault(drop_path.drop_path_rates, "schedule", "rate of each block", spec="bottleneck")
def drop_path_never_at_its_rate(right: Original, spec: Any, rate: float) -> Any:
    """A ResNet's blocks are left out by TinyNet's rule, where the last has less than the rate."""
    count = len(spec.blocks())
    return tuple(share * (count - 1) / count for share in right(spec, rate))
