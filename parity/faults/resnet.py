"""Faults in what only ResNets have: projections, an activation behind the sum, a max pool."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

from typing import Any

from tinynet.backend import Backend
from tinynet.net import drop_path

from parity.faults.planting import BOTH, Group, Injection, forward, replaced

GROUP = Group("resnet")


@GROUP.fault(
    "layers-isolated", {"torch": "layer1.0.act2", "mindspore": "layer1.0"},
    "blocks", "BasicBlock", BOTH, spec="basic",
)  # fmt: skip
def sum_without_activation(twin: Backend) -> Injection:
    """A basic block has no activation behind its sum."""

    def faulty(right: Any, block: Any, x: Any, factors: Any = None) -> Any:
        y = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))
        return block.downsample(x) + twin.blocks.drop_path(y, factors)

    return replaced(twin.blocks.BasicBlock, forward(twin), faulty)


@GROUP.fault(
    "layers-isolated", {"torch": "layer1.0.bn2", "mindspore": "layer1.0"},
    "blocks", "BasicBlock", BOTH, spec="basic",
)  # fmt: skip
def sum_before_batch_norm(twin: Backend) -> Injection:
    """A basic block adds its input in front of the last batch norm instead of behind it."""

    def faulty(right: Any, block: Any, x: Any, factors: Any = None) -> Any:
        y = block.conv2(block.act1(block.bn1(block.conv1(x))))
        return block.act2(block.bn2(block.downsample(x) + twin.blocks.drop_path(y, factors)))

    return replaced(twin.blocks.BasicBlock, forward(twin), faulty)


@GROUP.fault("layers-isolated", "layer2.0.conv1", "blocks", "Bottleneck", BOTH, spec="bottleneck")
def stride_on_the_first_convolution(twin: Backend) -> Injection:
    """A bottleneck strides in its first convolution, as in the paper, and not in its second."""

    def faulty(right: Any, layer: Any, block: Any, *args: Any) -> None:
        right(layer, block, *args)
        conv2d, mid = twin.blocks.conv2d, block.mid_channels
        layer.conv1 = conv2d(block.in_channels, mid, stride=block.stride)
        layer.conv2 = conv2d(mid, mid, block.kernel_size, 1, block.padding)

    return replaced(twin.blocks.Bottleneck, "__init__", faulty)


@GROUP.fault(
    "layers-isolated", {"torch": "layer1.0.downsample.1", "mindspore": "layer1.0.downsample"},
    "blocks", "Downsample", BOTH, spec="bottleneck",
)  # fmt: skip
def projection_without_batch_norm(twin: Backend) -> Injection:
    """A projection's batch norm is built, as it should be, and never used."""
    return replaced(twin.blocks.Downsample, forward(twin), lambda right, layer, x: layer[0](x))


@GROUP.fault(
    "layers-isolated", {"torch": "layer1.0.act2", "mindspore": "layer1.0.downsample"},
    "blocks", "downsample", BOTH, spec="basic",
)  # fmt: skip
def projection_in_every_stage(twin: Backend) -> Injection:
    """The first block of a stage projects its input even where the shape stays the same."""

    def faulty(right: Any, block: Any, settings: Any) -> Any:
        is_first = block.key.endswith(".0")
        return twin.blocks.Downsample(block, settings) if is_first else right(block, settings)

    return replaced(twin.blocks, "downsample", faulty)


@GROUP.fault("layers-isolated", "maxpool", "blocks", "max_pool", BOTH, spec="basic")
def pool_padded_behind(twin: Backend) -> Injection:
    """The max pool pads below and to the right only, MindSpore's and TensorFlow's "same"."""

    def faulty(right: Any, pool: Any) -> Any:
        if twin.name == "mindspore":
            return twin.blocks.nn.MaxPool2d(pool.kernel_size, pool.stride, pad_mode="same")
        return twin.blocks.nn.MaxPool2d(pool.kernel_size, pool.stride, ceil_mode=True)

    return replaced(twin.blocks, "max_pool", faulty)


@GROUP.fault("layers-isolated", "maxpool", "blocks", "max_pool", BOTH, spec="bottleneck")
def pool_by_mean(twin: Backend) -> Injection:
    """The stem's pool takes the means of its windows instead of their largest values."""

    def faulty(right: Any, pool: Any) -> Any:
        how = pool.kernel_size, pool.stride
        if twin.name == "torch":
            return twin.blocks.nn.AvgPool2d(*how, pool.padding)
        return twin.blocks.nn.AvgPool2d(*how, pad_mode="pad", padding=pool.padding)

    return replaced(twin.blocks, "max_pool", faulty)


@GROUP.fault(
    "gradients-isolated", "layer2.1 input", "blocks", "Bottleneck", BOTH, spec="bottleneck"
)
def gradient_cut_at_the_shortcut(twin: Backend) -> Injection:
    """No gradient flows back past a bottleneck's branch, forward all is right."""

    def cut(x: Any) -> Any:
        return x.detach() if twin.name == "torch" else twin.blocks.ops.stop_gradient(x)

    def faulty(right: Any, block: Any, x: Any, factors: Any = None) -> Any:
        y = block.act1(block.bn1(block.conv1(x)))
        y = block.bn3(block.conv3(block.act2(block.bn2(block.conv2(y)))))
        return block.act3(cut(block.downsample(x)) + twin.blocks.drop_path(y, factors))

    return replaced(twin.blocks.Bottleneck, forward(twin), faulty)


@GROUP.fault("trajectory", "loss of step 1", "blocks", "BasicBlock", ("mindspore",), spec="basic")
def shortcut_dropped_for_the_branch(twin: Backend) -> Injection:
    """Drop-path leaves out what a basic block adds its branch to, instead of the branch."""

    def faulty(right: Any, block: Any, x: Any, factors: Any = None) -> Any:
        y = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))
        return block.act2(twin.blocks.drop_path(block.downsample(x), factors) + y)

    return replaced(twin.blocks.BasicBlock, forward(twin), faulty)


@GROUP.fault(
    "schedule",
    "rate of each block",
    "tinynet/net/drop_path",
    "drop_path_rates",
    spec="bottleneck",
)
def drop_path_never_at_its_rate() -> Injection:
    """A ResNet's blocks are left out by TinyNet's rule, where the last has less than the rate."""

    def faulty(right: Any, spec: Any, rate: float) -> Any:
        count = len(spec.blocks())
        return tuple(share * (count - 1) / count for share in right(spec, rate))

    return replaced(drop_path, "drop_path_rates", faulty)
