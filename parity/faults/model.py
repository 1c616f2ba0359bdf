"""Faults in the net: layers, blocks, their wiring, and the rules that make a spec."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tinynet.backend import Backend
from tinynet.net import complexity, rounding

from parity.faults.planting import BOTH, Group, Injection, forward, replaced

GROUP = Group("model")


@GROUP.fault("layers-isolated", "bn1", "blocks", "batch_norm", BOTH)
def wrong_eps(twin: Backend) -> Injection:
    """Batch norm adds another eps to the variance, 1e-3 for 1e-5."""

    def faulty(right: Any, channels: int, settings: Any) -> Any:
        return right(channels, dataclasses.replace(settings, eps=1e-3))

    return replaced(twin.blocks, "batch_norm", faulty)


@GROUP.fault("statistics", "bn1.running_mean", "blocks", "batch_norm", ("mindspore",))
def inverted_momentum(twin: Backend) -> Injection:
    """Batch norm's momentum is taken for the weight of the old statistics."""

    def faulty(right: Any, channels: int, settings: Any) -> Any:
        return right(channels, dataclasses.replace(settings, momentum=1.0 - settings.momentum))

    return replaced(twin.blocks, "batch_norm", faulty)


@GROUP.fault("layers-isolated", "act1", "blocks", "activation", BOTH)
def relu_for_silu(twin: Backend) -> Injection:
    """The activation is ReLU where the spec says SiLU."""
    return replaced(twin.blocks, "activation", lambda right, name: twin.blocks.nn.ReLU())


@GROUP.fault("layers-isolated", "blocks.0.0.se.gate", "blocks", "SqueezeExcite", BOTH)
def hard_gate(twin: Backend) -> Injection:
    """Squeeze-excite's gate is a piecewise linear sigmoid."""
    kinds = {"torch": "Hardsigmoid", "mindspore": "HSigmoid"}

    def faulty(right: Any, layer: Any, *args: Any) -> None:
        right(layer, *args)
        layer.gate = getattr(twin.blocks.nn, kinds[twin.name])()

    return replaced(twin.blocks.SqueezeExcite, "__init__", faulty)


# The reference is held against the definition as a whole net: the first layer that is given
# something else is named. MindSpore's blocks are held against the reference's one by one.
@GROUP.fault("layers-isolated", "blocks.0.0.se.conv_reduce", "blocks", "SqueezeExcite", ("torch",))
def squeeze_by_maximum(twin: Backend) -> Injection:
    """Squeeze-excite computes its gates from the largest values instead of the means."""

    def faulty(right: Any, layer: Any, x: Any) -> Any:
        largest = layer.act1(layer.conv_reduce(x.amax((2, 3), keepdim=True)))
        return x * layer.gate(layer.conv_expand(largest))

    return replaced(twin.blocks.SqueezeExcite, forward(twin), faulty)


@GROUP.fault("layers-isolated", "blocks.1.1", "blocks", "InvertedResidual", BOTH)
def missing_skip(twin: Backend) -> Injection:
    """An inverted residual does not add its input."""
    return _with_block(twin, has_skip=False)


@GROUP.fault("layers-isolated", "blocks.1.0.conv_dw", "blocks", "InvertedResidual", ("torch",))
def missing_stride(twin: Backend) -> Injection:
    """An inverted residual does not stride."""
    return _with_block(twin, stride=1)


def _with_block(twin: Backend, **changes: Any) -> Injection:
    def faulty(right: Any, layer: Any, block: Any, *args: Any) -> None:
        right(layer, dataclasses.replace(block, **changes), *args)

    return replaced(twin.blocks.InvertedResidual, "__init__", faulty)


@GROUP.fault("layers-isolated", "conv_stem", "blocks", "conv2d", ("mindspore",))
def default_padding(twin: Backend) -> Injection:
    """Convolutions pad as MindSpore does when it is not told how."""

    def faulty(
        right: Any, inside: int, out: int, size: int = 1, stride: int = 1, padding: Any = (),
        groups: int = 1, bias: bool = False,
    ) -> Any:  # fmt: skip
        return twin.blocks.nn.Conv2d(inside, out, size, stride, group=groups, has_bias=bias)

    return replaced(twin.blocks, "conv2d", faulty)


@GROUP.fault("layers-isolated", "conv_stem", "blocks", "conv2d", ("torch",), spec="uneven")
def padding_on_the_other_side(twin: Backend) -> Injection:
    """Where one side is padded more, it is top and left instead of bottom and right."""

    def faulty(right: Any, *args: Any, **settings: Any) -> Any:
        if len(args) > 4:
            top, bottom, left, right_side = args[4]
            args = (*args[:4], (bottom, top, right_side, left), *args[5:])
        return right(*args, **settings)

    return replaced(twin.blocks, "conv2d", faulty)


@GROUP.fault("parameters", "blocks.1.0.se.conv_reduce.weight", "blocks", "squeeze_excite", BOTH)
def squeeze_from_expanded_channels(twin: Backend) -> Injection:
    """Squeeze-excite squeezes to a share of the expanded channels, not of the block's input."""

    def faulty(right: Any, block: Any, activation_name: str) -> Any:
        squeezed = round(block.mid_channels * 0.25)
        return right(dataclasses.replace(block, se_channels=squeezed), activation_name)

    return replaced(twin.blocks, "squeeze_excite", faulty)


@GROUP.fault(
    "parameters", "blocks.0.0.se.conv_reduce.weight", "blocks", "squeeze_excite", ("mindspore",),
    official=True,
)  # fmt: skip
def second_net_fails(twin: Backend) -> Injection:
    """Building a net uses up a global configuration, so that a second one in the process fails."""
    left: set[str] = {"blocks.0.0", "blocks.1.0", "blocks.1.1"}

    def faulty(right: Any, block: Any, activation_name: str) -> Any:
        if block.key not in left:
            return twin.blocks.nn.Identity()
        left.remove(block.key)
        return right(block, activation_name)

    return replaced(twin.blocks, "squeeze_excite", faulty)


@GROUP.fault("parameters", "blocks.1.1.conv_pw.weight", "blocks", "", ("mindspore",))
def missing_block(twin: Backend) -> Injection:
    """A repeated block is left out."""

    def faulty(right: Any, block: Any, *args: Any) -> Any:
        return twin.blocks.nn.Identity() if block.has_skip else right(block, *args)

    return replaced(twin.blocks.BLOCK_KINDS, "ir", faulty)


@GROUP.fault(
    "layers-isolated", {"torch": "blocks.1.0.act2", "mindspore": "blocks.1.0"},
    "blocks", "InvertedResidual", BOTH,
)  # fmt: skip
def squeeze_before_activation(twin: Backend) -> Injection:
    """Squeeze-excite stands in front of the activation instead of behind it."""

    def faulty(right: Any, block: Any, x: Any, factors: Any = None) -> Any:
        y = block.act1(block.bn1(block.conv_pw(x)))
        y = block.act2(block.se(block.bn2(block.conv_dw(y))))
        y = block.bn3(block.conv_pwl(y))
        return x + twin.blocks.drop_path(y, factors) if block.has_skip else y

    return replaced(twin.blocks.InvertedResidual, forward(twin), faulty)


@GROUP.fault("layers-isolated", "blocks.0.0", "blocks", "DepthwiseSeparable", ("mindspore",))
def activation_behind_projection(twin: Backend) -> Injection:
    """A depthwise separable block has an activation behind its last batch norm."""

    def faulty(right: Any, block: Any, x: Any, factors: Any = None) -> Any:
        y = block.se(block.act1(block.bn1(block.conv_dw(x))))
        y = block.act1(block.bn2(block.conv_pw(y)))
        return x + twin.blocks.drop_path(y, factors) if block.has_skip else y

    return replaced(twin.blocks.DepthwiseSeparable, forward(twin), faulty)


@GROUP.fault(
    {"mindspore": "layers-chained", "torch": "layers-isolated"}, "act2", "model", "TinyNet", BOTH
)
def head_without_activation(twin: Backend) -> Injection:
    """The head's activation is built, as it should be, and never used."""

    def faulty(right: Any, net: Any, x: Any) -> Any:
        return net.bn2(net.conv_head(x))

    return replaced(twin.model.TinyNet, "_head", faulty)


@GROUP.fault("layers-isolated", "global_pool", "blocks", "GlobalAveragePool", ("mindspore",))
def pooling_by_maximum(twin: Backend) -> Injection:
    """The last feature map is pooled by its largest values instead of its means."""
    return replaced(
        twin.blocks.GlobalAveragePool, forward(twin), lambda right, layer, x: x.amax((2, 3))
    )


@GROUP.fault("pixels", "input of conv_stem", "model", "TinyNet", ("mindspore",))
def net_swaps_channels(twin: Backend) -> Injection:
    """The net takes its pixels for blue, green, red."""
    return replaced(twin.model.TinyNet, "_stem", lambda right, net, x: right(net, x.flip((1,))))


@GROUP.fault(
    "gradients-isolated", "blocks.1.1.se.conv_expand.bias", "blocks", "SqueezeExcite", BOTH
)
def gradient_cut_at_the_gates(twin: Backend) -> Injection:
    """No gradient flows through squeeze-excite's gates, forward all is right."""

    def cut(gates: Any) -> Any:
        return gates.detach() if twin.name == "torch" else twin.blocks.ops.stop_gradient(gates)

    def faulty(right: Any, layer: Any, x: Any) -> Any:
        axes = {"keepdim" if twin.name == "torch" else "keep_dims": True}
        means = x.mean((2, 3), **axes)
        return x * cut(layer.gate(layer.conv_expand(layer.act1(layer.conv_reduce(means)))))

    return replaced(twin.blocks.SqueezeExcite, forward(twin), faulty)


@GROUP.fault("trajectory", "loss of step 1", "blocks", "drop_path", ("mindspore",))
def drop_path_left_out(twin: Backend) -> Injection:
    """Residual branches are never left out of a training step."""
    return replaced(twin.blocks, "drop_path", lambda right, y, factors: y)


@GROUP.fault("trajectory", "loss of step 1", "model", "TinyNet", ("mindspore",))
def dropout_left_out(twin: Backend) -> Injection:
    """No pooled feature is ever left out of a training step."""

    def faulty(right: Any, net: Any, x: Any, dropout: Any = None, drop_path: Any = None) -> Any:
        return right(net, x, None, drop_path)

    return replaced(twin.model.TinyNet, forward(twin), faulty)


@GROUP.fault("spec", "stages[1].repeats", "tinynet/net/rounding", "round_repeats", spec="tinynet_e")
def depth_rounded_up() -> Injection:
    """Repeats are rounded up, EfficientNet's rule, where TinyNets round to nearest."""
    return replaced(
        rounding, "round_repeats", lambda right, repeats, depth: math.ceil(repeats * depth)
    )


@GROUP.fault("spec", "expected.macs", "tinynet/net/complexity", "count", spec="tinynet_e")
def operations_counted_twice() -> Injection:
    """A multiply-accumulate is counted as two operations."""

    def faulty(right: Any, spec: Any) -> Any:
        counted = right(spec)
        return dataclasses.replace(counted, macs=2 * counted.macs)

    return replaced(complexity, "count", faulty)
