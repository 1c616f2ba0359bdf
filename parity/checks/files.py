"""Checks of what leaves the twins: ONNX files and checkpoints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from tinynet.checkpoints.conversion import convert
from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.deploy import onnx_file

from parity.context import NATIVE_SUFFIX, Context
from parity.distances import compare_bits, compare_values
from parity.results import Comparison


def onnx(context: Context) -> Iterator[Comparison]:
    """Logits of the ONNX files that both frameworks export."""
    name = context.spec.names.classifier
    truth, baselines = context.reference_logits, context.baseline_logits
    for framework in context.frameworks:
        predict = onnx_file.OnnxPredictor(context.onnx_path(framework), context.spec)
        found = predict(context.pixels)
        candidate = f"{framework} to ONNX"
        yield compare_values(candidate, name, found, truth, baselines, context.bound("onnx"))


def checkpoints(context: Context) -> Iterator[Comparison]:
    """A state survives each conversion between the file formats there are."""
    original = Checkpoint(context.state, context.spec)
    suffixes = (".safetensors", *(NATIVE_SUFFIX[name] for name in context.frameworks))
    for source, destination in itertools.permutations(suffixes, 2):
        from_path = context.folder / f"from{source}"
        to_path = context.folder / f"to{destination}"
        candidate = f"{source} to {destination}"
        try:
            save_checkpoint(from_path, original)
            convert(from_path, to_path, context.spec)
            found = load_checkpoint(to_path, context.spec).state
        except ValueError as error:
            yield Comparison(candidate, "whole file", math.inf, 0.0, kind="error", note=str(error))
            continue
        for key, truth in context.state.items():
            yield compare_bits(candidate, key, found.get(key), truth)
