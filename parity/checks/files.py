"""Rungs of what leaves the twins: ONNX files and checkpoints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from tinynet.checkpoints.conversion import convert
from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.deploy import onnx_file

from parity.context import NATIVE_SUFFIX, Bench
from parity.distances import compare_bits, compare_values
from parity.results import Evidence


def onnx(bench: Bench) -> Iterator[Evidence]:
    """Logits of the ONNX files that both frameworks export."""
    name = bench.spec.names.classifier
    truth, references = bench.judge_logits, bench.reference_logits
    for framework in bench.frameworks:
        predict = onnx_file.OnnxPredictor(bench.onnx_path(framework), bench.spec)
        found = predict(bench.pixels)
        subject = f"{framework} to ONNX"
        yield compare_values(subject, name, found, truth, references, bench.bound("onnx"))


def checkpoints(bench: Bench) -> Iterator[Evidence]:
    """A state survives each conversion between the file formats there are."""
    original = Checkpoint(bench.state, bench.spec)
    suffixes = (".safetensors", *(NATIVE_SUFFIX[name] for name in bench.frameworks))
    for source, destination in itertools.permutations(suffixes, 2):
        from_path = bench.folder / f"from{source}"
        to_path = bench.folder / f"to{destination}"
        subject = f"{source} to {destination}"
        try:
            save_checkpoint(from_path, original)
            convert(from_path, to_path, bench.spec)
            found = load_checkpoint(to_path, bench.spec).state
        except ValueError as error:
            yield Evidence(subject, "whole file", math.inf, 0.0, kind="error", note=str(error))
            continue
        for key, truth in bench.state.items():
            yield compare_bits(subject, key, found.get(key), truth)
