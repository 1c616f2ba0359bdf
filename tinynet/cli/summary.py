"""Prints the layers of a net with their multiply-accumulates (MACs, for one image) and parameters.
Without SPEC: the nets that are shipped.

MACs count convolutions and linear layers, squeeze-excite included, biases excluded; what papers
call FLOPs is the same number.

Examples:
  tinynet summary                      the shipped nets
  tinynet summary tinynet_c            one of them
  tinynet summary my_net.json --json   a spec of your own, for a machine
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, report
from tinynet.cli.options import add_shared
from tinynet.utils.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinynet.spec import Spec

_COLUMNS = ("key", "op", "kernel_size", "groups", "macs", "params", "output_shape")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("spec", metavar="SPEC", nargs="?", help="name (tinynet_c) or .json file")
    add_shared(parser, "--json")


def run(options: argparse.Namespace) -> int:
    from tinynet.spec import list_specs, load_spec

    if options.spec is None:
        nets = [_document(load_spec(name), name) for name in list_specs()]
        totals = ("name", "input_size", "macs", "params")
        document = {"specs": [{key: net[key] for key in totals} for net in nets]}
        report(options, document, table(("name", "input", "MACs", "params"), map(_totals, nets)))
        return 0
    spec = load_spec(options.spec)
    document = _document(spec, options.spec)
    report(options, document, _describe(spec, document))
    return 0


def _document(spec: Spec, source: str) -> dict[str, Any]:
    from tinynet.net.complexity import count, layers
    from tinynet.spec import SpecError, spec_document

    counted, expected = count(spec), spec.expected
    if expected is not None and expected != counted:
        raise SpecError(
            f"{source}: expected says {expected.macs} macs and {expected.params} params, its "
            f"layers have {counted.macs} macs and {counted.params} params"
        )
    return {
        "name": spec.name,
        "input_size": spec.input_size,
        "macs": counted.macs,
        "params": counted.params,
        "num_classes": spec.num_classes,
        "derivation": spec_document(spec).get("derivation"),
        "source": spec.source,
        "sha256": spec.sha256,
        "layers": [{name: getattr(layer, name) for name in _COLUMNS} for layer in layers(spec)],
    }


def _describe(spec: Spec, document: dict[str, Any]) -> str:
    rows = [
        (layer["key"], _operation(layer), _by(layer["output_shape"]), *_counts(layer))
        for layer in document["layers"]
    ]
    header = ("layer", "", "output", "MACs", "params")
    lines = [table(header, [*rows, ("total", "", "", *_counts(document))]), ""]
    lines.append(f"name        {spec.name}")
    lines.append(f"input       {_by(spec.input_size)} (channels x height x width)")
    lines.append(f"classes     {spec.num_classes}")
    if spec.derivation:
        twist = spec.derivation.twist
        lines.append(
            f"derivation  {spec.derivation.base}, resolution x {twist.resolution:g}, "
            f"depth x {twist.depth:g}, width x {twist.width:g}"
        )
    if spec.source:
        lines.append(f"source      {spec.source}")
    return "\n".join(lines)


def _operation(layer: dict[str, Any]) -> str:
    if layer["op"] != "conv2d":
        return layer["op"].replace("_", " ")
    kind = "depthwise conv" if layer["groups"] > 1 else "conv"
    return f"{kind} {layer['kernel_size']}x{layer['kernel_size']}"


def _totals(net: dict[str, Any]) -> tuple[str, ...]:
    return (net["name"], _by(net["input_size"]), *_counts(net))


def _counts(counted: dict[str, Any]) -> tuple[str, str]:
    return (f"{counted['macs']:,}", f"{counted['params']:,}")


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
