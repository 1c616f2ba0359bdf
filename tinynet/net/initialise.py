"""Initial weights, made once in NumPy from a seed, so that both twins start from the same bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tinynet.net.complexity import layers
from tinynet.net.manifest import State
from tinynet.spec import Spec
from tinynet.utils.random_numbers import normal, uniform


def initial_state(spec: Spec, seed: int) -> State:
    """Draws the initial state of a spec.

    Convolutions are normal with variance 2 / fan-out, where fan-out is k * k * out_channels /
    groups; the classifier is uniform in +-1 / sqrt(num_classes); biases are zero; batch norm
    starts as the identity. A ResNet's classifier, weight and bias, is uniform in +-1 / sqrt(its
    input channels). Each tensor has a stream of its own, named by seed and key, so that a
    changed layer leaves all others as they were.

    Args:
        spec: the net.
        seed: any integer.

    Returns:
        Canonical key -> float32 array, in manifest order.

    Source: the initialisation of the EfficientNet reference code (TensorFlow TPU models,
    ``conv_kernel_initializer`` and ``dense_kernel_initializer``), as timm 1.0 carries it over:
    fan-out divided by groups. For ResNets torchvision's ``resnet.py`` (``kaiming_normal_`` with
    fan-out), which leaves ``torch.nn.Linear`` as PyTorch draws it, bias included; timm's does too.
    """
    state: State = {}
    family = spec.family
    for layer in layers(spec):
        weight, bias = f"{layer.key}.weight", f"{layer.key}.bias"
        shape, vector = layer.weight_shape, (layer.out_channels,)
        if layer.op == "batch_norm":
            state[weight] = np.ones(vector, np.float32)
            state[bias] = np.zeros(vector, np.float32)
            state[f"{layer.key}.running_mean"] = np.zeros(vector, np.float32)
            state[f"{layer.key}.running_var"] = np.ones(vector, np.float32)
            continue
        if layer.op == "conv2d":
            fan_out = layer.kernel_size**2 * layer.out_channels // layer.groups
            values = normal(shape, seed, weight) * math.sqrt(2.0 / fan_out)
        else:
            fan = layer.in_channels if family.classifier_fan == "in" else layer.out_channels
            values = _uniform(shape, fan, seed, weight)
        state[weight] = values.astype(np.float32)
        if layer.bias:
            drawn = family.draws_bias
            values = _uniform(vector, layer.in_channels, seed, bias) if drawn else np.zeros(vector)
            state[bias] = values.astype(np.float32)
    return state


def _uniform(shape: tuple[int, ...], fan: int, seed: int, key: str) -> NDArray[np.float64]:
    return (2.0 * uniform(shape, seed, key) - 1.0) / math.sqrt(fan)
