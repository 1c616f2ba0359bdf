"""Which file and definition answers for what: the map by which a failure is given an address.

The twins are built alike, file by file and name by name, so one map serves both.
"""

from __future__ import annotations

import ast
import re
import sys
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tinynet.backend import FRAMEWORKS, load_backend
from tinynet.net.manifest import StateError, manifest
from tinynet.spec import Spec

from parity.reference.structure import NET, kind, rows

# The checkout, or where the packages are installed, beside others.
ROOT = Path(__file__).parents[2]
_PACKAGES = ("tinynet/", "torch_impl/", "mindspore_impl/", "parity/")
# These only pass on what they were given, so a traceback that ends in them starts above.
_MESSENGERS = (
    "parity/",
    "tinynet/utils/atomic_files.py",
    "tinynet/utils/strict_json.py",
    "torch_impl/probe",
    "mindspore_impl/probe",
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
    """A definition in a file, whose path begins with its package."""

    file: str
    definition: str = ""

    @classmethod
    def of(cls, thing: Any, constant: str = "") -> Source:
        """Finds the address of a function, class or module, or of a constant in its module."""
        module = sys.modules[getattr(thing, "__module__", "") or thing.__name__]
        is_package = hasattr(module, "__path__")
        path = module.__name__.replace(".", "/") + ("/__init__.py" if is_package else ".py")
        return cls(path, constant or getattr(thing, "__qualname__", ""))

    @property
    def framework(self) -> str:
        """The twin it belongs to; "tinynet" for what both share, empty for anything else."""
        own = {"tinynet": "tinynet"} | {f"{name}_impl": name for name in FRAMEWORKS}
        return own.get(self.file.partition("/")[0], "")


def operation(name: str) -> str:
    """Says in a word or two what a layer computes."""
    if kind(name):
        return _BUILDERS[kind(name)][1]
    inner = {"se": "squeeze-excite", "downsample": "projection"}.get(name.rpartition(".")[2])
    return inner or ("block" if name else "net")


def builder(framework: str, name: str) -> Source:
    """Finds what makes a layer without layers in it."""
    twin, definition = load_backend(framework), _BUILDERS[kind(name)][0]
    module = twin.model if definition in ("TinyNet", "ResNet") else twin.blocks
    return Source.of(getattr(module, definition))


def owner(framework: str, name: str, spec: Spec) -> Source:
    """Finds what a layer is a part of: the block, the squeeze-excite or the net."""
    return composite(framework, name.rpartition(".")[0], spec)


def composite(framework: str, name: str, spec: Spec) -> Source:
    """Finds what wires the layers in a layer: in a block, a squeeze-excite, or the net."""
    twin = load_backend(framework)
    if name == NET:
        return Source.of(twin.model.ResNet if spec.is_resnet else twin.model.TinyNet)
    if name in (found := rows(spec)):
        return Source.of(getattr(twin.blocks, _CLASSES[found[name].kind]))
    is_projection = name.endswith(".downsample")
    return Source.of(twin.blocks.Downsample if is_projection else twin.blocks.SqueezeExcite)


def of_layers(framework: str, off: Collection[str], every: Iterable[str], spec: Spec) -> Source:
    """Finds the smallest definition that accounts for exactly the layers that are off.

    Those are layers without layers in them, all of one kind; of ``every`` layer of that kind the
    rest are right.
    """
    first = next(iter(off))
    owners = {owner(framework, name, spec) for name in off}
    others = {owner(framework, name, spec) for name in same_kind(first, every)}
    return owners.pop() if len(owners) == 1 and others - owners else builder(framework, first)


def same_kind(name: str, every: Iterable[str]) -> list[str]:
    """Lists the layers without layers in them that compute the same as one of them."""
    return [other for other in every if kind(other) == kind(name)]


def of_error(error: BaseException, spec: Spec) -> Source | None:
    """Finds where an exception comes from: the innermost line of the project that is wrong."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(frame.filename, frame.lineno or 0) for frame in frames]
    raised_at = [source for place in places if (source := _definition_at(*place))]
    # A graph is compiled elsewhere, and only the message tells of its lines.
    told = re.findall(r"[Ii]n file (\S+?\.py):(\d+)", str(error))
    compiled_at = [source for f, line in told if (source := _definition_at(f, int(line)))]
    ours = [s for s in raised_at + compiled_at if not s.file.startswith(_MESSENGERS)]
    twins = [source.framework for source in raised_at if source.framework in FRAMEWORKS]
    key = str(error).partition(":")[0]
    if ours and twins and isinstance(error, StateError) and key in manifest(spec):
        # The net was not built as its spec says: what built the layer is wrong, not what noticed.
        return owner(twins[0], key.rpartition(".")[0], spec)
    return ours[-1] if ours else None


def named_key(error: BaseException, spec: Spec) -> str:
    """Finds the first key that an error's message names, the best guess of its place."""
    message = str(error)
    places = [(message.find(key), key) for key in manifest(spec) if key in message]
    return min(places)[1] if places else ""


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
        inside = (
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.FunctionDef | ast.ClassDef)
            and child.lineno <= line <= (child.end_lineno or 0)
        )
        inner = next(inside, None)
        if inner is None:
            return Source(name, ".".join(names))
        names.append(inner.name)
        node = inner
