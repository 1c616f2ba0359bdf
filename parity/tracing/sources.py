"""Which file and definition answers for what: the map by which a failure is given an address.

The twins are built alike, file by file and name by name, so one map serves both.
"""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from tinynet.backend import FRAMEWORKS
from tinynet.net.manifest import StateError, manifest
from tinynet.spec import Spec

from parity.reference.structure import NET, kind, rows

# The checkout, or where the packages are installed, beside others.
ROOT = Path(__file__).parents[2]
_PACKAGES = ("tinynet/", "torch_impl/", "mindspore_impl/", "parity/")
# What a traceback may end in and what yet only passes on what it was given.
_MESSENGERS = (
    "parity/",
    "tinynet/utils/atomic_files.py",
    "tinynet/utils/strict_json.py",
    "torch_impl/probe/",
    "mindspore_impl/probe/",
)
_CLASSES = {
    "ds": "DepthwiseSeparable",
    "ir": "InvertedResidual",
    "basic": "BasicBlock",
    "bottleneck": "Bottleneck",
}
# The builder of a layer without layers in it, by its kind, and what it computes.
_BUILDERS = {
    "conv": ("conv2d", "convolution"),
    "bn": ("batch_norm", "batch norm"),
    "act": ("activation", "activation"),
    "gate": ("SqueezeExcite", "sigmoid"),
    "global_pool": ("GlobalAveragePool", "mean over the pixels"),
    "maxpool": ("max_pool", "max pool"),
    "classifier": ("TinyNet", "dense"),
    "fc": ("ResNet", "dense"),
}


class Source(NamedTuple):
    """A definition in a file, whose path is relative to the project's root."""

    file: str
    definition: str = ""

    @property
    def framework(self) -> str:
        """The twin it belongs to; "tinynet" for what both share, empty for anything else."""
        package = self.file.partition("/")[0]
        return {f"{name}_impl": name for name in FRAMEWORKS}.get(
            package, package if package == "tinynet" else ""
        )


def in_twin(framework: str, module: str, definition: str) -> Source:
    """A definition in a module of a twin."""
    return Source(f"{framework}_impl/{module}.py", definition)


def operation(name: str) -> str:
    """What a layer computes, in a word or two."""
    if kind(name):
        return _BUILDERS[kind(name)][1]
    inner = {"se": "squeeze-excite", "downsample": "projection"}.get(name.rpartition(".")[2])
    return inner or ("block" if name else "net")


def builder(framework: str, name: str) -> Source:
    """What makes a layer without layers in it."""
    definition = _BUILDERS[kind(name)][0]
    module = "model" if definition in ("TinyNet", "ResNet") else "blocks"
    return in_twin(framework, module, definition)


def owner(framework: str, name: str, spec: Spec) -> Source:
    """What a layer is a part of: the block, the squeeze-excite or the net that is wired so."""
    return composite(framework, name.rpartition(".")[0], spec)


def composite(framework: str, name: str, spec: Spec) -> Source:
    """What wires the layers in a layer: of a block, a squeeze-excite, or of the net."""
    if name == NET:
        return in_twin(framework, "model", "ResNet" if spec.is_resnet else "TinyNet")
    if name in (found := rows(spec)):
        return in_twin(framework, "blocks", _CLASSES[found[name].kind])
    is_projection = name.endswith(".downsample")
    return in_twin(framework, "blocks", "Downsample" if is_projection else "SqueezeExcite")


def of_layers(framework: str, off: Collection[str], every: Iterable[str], spec: Spec) -> Source:
    """The smallest definition that accounts for exactly the layers that are off.

    Args:
        framework: the twin.
        off: layers without layers in them that are off, all of one kind.
        every: all layers of the net; of those of the same kind the rest are right.
        spec: the net.
    """
    own = kind(next(iter(off)))
    owners = {owner(framework, name, spec) for name in off}
    others = {owner(framework, n, spec) for n in every if kind(n) == own}
    if len(owners) == 1 and others - owners:
        return owners.pop()
    return builder(framework, next(iter(off)))


def same_kind(name: str, every: Iterable[str]) -> list[str]:
    """The layers without layers in them that compute the same as one of them."""
    return [other for other in every if kind(other) == kind(name)]


def of_error(error: BaseException, spec: Spec) -> Source | None:
    """Where an exception comes from: the innermost line of the project that made a mistake."""
    found: Source | None = None
    for frame in traceback.extract_tb(error.__traceback__):
        source = _definition_at(frame.filename, frame.lineno or 0)
        if source and not source.file.startswith(_MESSENGERS):
            found = source
    # A graph is compiled elsewhere, and only the message tells of its lines.
    for file, line in re.findall(r"[Ii]n file (\S+?\.py):(\d+)", str(error)):
        source = _definition_at(file, int(line))
        if source and not source.file.startswith(_MESSENGERS):
            found = source
    if isinstance(error, StateError) and found:
        return _of_shapes(error, spec) or found
    return found


def _of_shapes(error: StateError, spec: Spec) -> Source | None:
    # The net was not built as its spec says: who built the layer is to blame, not who noticed.
    key = str(error).partition(":")[0]
    frames = (
        _definition_at(frame.filename, frame.lineno or 0)
        for frame in traceback.extract_tb(error.__traceback__)
    )
    twins = [source.framework for source in frames if source and source.framework in FRAMEWORKS]
    if key not in manifest(spec) or not twins:
        return None
    return owner(twins[0], key.rpartition(".")[0], spec)


def _definition_at(filename: str, line: int) -> Source | None:
    path = Path(filename)
    if not path.is_relative_to(ROOT) or not path.is_file():
        return None
    name = path.relative_to(ROOT).as_posix()
    if not name.startswith(_PACKAGES):
        return None
    names: list[str] = []
    node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    while True:
        inner = next(
            (
                child
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.FunctionDef | ast.ClassDef)
                and child.lineno <= line <= (child.end_lineno or 0)
            ),
            None,
        )
        if inner is None:
            return Source(name, ".".join(names))
        names.append(inner.name)
        node = inner
