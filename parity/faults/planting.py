"""How a fault is planted: a function is replaced, in memory, wherever it was imported to.

A fault is declared on the function that stands in for the right one. Its first argument is the
right one, an :class:`Original`; the others are those of the call.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import setitem
from types import ModuleType
from typing import Any

import numpy as np

from tinynet.backend import FRAMEWORKS, load_backend
from tinynet.spec import SPEC_DIRECTORY, Head, Spec, Stage, Stem, load_spec

from parity.tracing.sources import Source

BOTH, TORCH, MINDSPORE = tuple(FRAMEWORKS), ("torch",), ("mindspore",)
# What the twins call a layer's method that computes.
_FORWARD = {"torch": "forward", "mindspore": "construct"}
_PACKAGES = ("tinynet", "parity", *(f"{name}_impl" for name in FRAMEWORKS))

# Small, but with all that can be wrong: a skip, an even input, strides, both kernel sizes.
_SMALL = dataclasses.replace(
    load_spec("tinynet_e").with_classes(10),
    name="small",
    input_size=(3, 32, 32),
    stem=Stem(3, 2, 8),
    stages=(Stage("ds", 1, 3, 1, 1, 8, 0.25), Stage("ir", 2, 5, 2, 3, 16, 0.25)),
    head=Head(32),
)
# What faults are planted in. Uneven is small with TensorFlow's padding, one side more than the
# other; a derivation and expected counts are in shipped specs only. Basic and bottleneck are small
# ResNets.
SPECS: dict[str, Spec] = {
    "small": _SMALL,
    "uneven": dataclasses.replace(_SMALL, name="uneven", padding="same"),
    "tinynet_e": load_spec("tinynet_e"),
    "basic": load_spec(SPEC_DIRECTORY / "small" / "resnet_basic.json"),
    "bottleneck": load_spec(SPEC_DIRECTORY / "small" / "resnet_bottleneck.json"),
}


@dataclasses.dataclass(slots=True, eq=False)
class Original:
    """The right function where a fault is planted; calling this calls it.

    Attributes:
        function: the right function.
        twin: the :class:`tinynet.backend.Backend` that the fault is in; None for a shared function.
        count: how often a run ran what was planted.
        memory: what the fault keeps from call to call.
    """

    function: Callable[..., Any]
    twin: Any = None
    count: int = 0
    memory: dict[Any, Any] = dataclasses.field(default_factory=dict[Any, Any])

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Does what is right."""
        return self.function(*args, **settings)


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One mistake, and what a proof of parity must say of it.

    Attributes:
        name: of the fault, and of the twin where it is in one.
        group: the area of the mistake.
        description: one sentence.
        check: the lowest check that must fail.
        where: the place that it must name first; a ``*`` where it is chance which of several shows
            first, such as the step at which a run has parted by more than rounding.
        source: the file, and the definition in it, that answer for it.
        inject: plants the fault, as long as the context lasts.
        spec: of :data:`SPECS`, the net in which it is planted.
        official: whether it is a defect proven in the official code of the paper.
    """

    name: str
    group: str
    description: str
    check: str
    where: str
    source: Source
    inject: Callable[[], AbstractContextManager[Original]]
    spec: str
    official: bool


class Group:
    """The faults of one kind, in the order in which they are declared; declares one if called."""

    def __init__(self, name: str):
        self.name = name
        self.faults: list[Fault] = []

    def __call__(
        self,
        target: str | Callable[..., Any],
        check: str | tuple[str, str],
        where: str | tuple[str, str],
        twins: Sequence[str] = (),
        answers: str | Callable[..., Any] | None = None,
        spec: str = "small",
        official: bool = False,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declares a function, which replaces a right one, as one fault or one for each twin.

        Args:
            target: the right function, or "module:name"; a twin's module without its package.
                A ``forward`` is a twin's method that computes, whatever the twin calls it. The
                function is replaced wherever it was imported to; where the module named only
                imports it, there alone.
            check: the lowest check that must fail; in BOTH's order where it depends on the twin.
            where: the place that must be named; by twin likewise.
            twins: the twins to plant it in; none for what they share.
            answers: what answers, where it is not the target: a function, a "name" in the same
                module, "module:name", or empty for any definition in the module.
            spec: the net.
            official: whether the defect is the official code's.
        """

        def declare(stand_in: Callable[..., Any]) -> Callable[..., Any]:
            description = " ".join((stand_in.__doc__ or "").split())
            for twin in twins or ("",):
                module, path = _address(target, twin)
                source = (module, path.partition(".")[0])
                if isinstance(answers, str) and ":" not in answers:
                    source = (module, answers)
                elif answers is not None:
                    source = _address(answers, twin)
                fault = Fault(
                    f"{stand_in.__name__}_in_{twin}" if twin else stand_in.__name__,
                    self.name,
                    description,
                    check if isinstance(check, str) else check[BOTH.index(twin)],
                    where if isinstance(where, str) else where[BOTH.index(twin)],
                    Source(f"{source[0].replace('.', '/')}.py", source[1]),
                    functools.partial(_planted, stand_in, module, path, twin),
                    spec,
                    official,
                )
                self.faults.append(fault)
            return stand_in

        return declare


def with_new_statistics(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a canonical state with the batch-norm statistics of a new net."""
    return {
        key: np.full_like(array, float(key.endswith("var"))) if ".running_" in key else array
        for key, array in state.items()
    }


def without_gradient(original: Original, tensor: Any) -> Any:
    """Returns the tensor of a fault's twin, cut off from what it was computed from."""
    if original.twin.name == "torch":
        return tensor.detach()
    return original.twin.blocks.ops.stop_gradient(tensor)


def _address(target: str | Callable[..., Any], twin: str) -> tuple[str, str]:
    # The module and the name in it.
    if not isinstance(target, str):
        return target.__module__, target.__qualname__
    module, _, path = target.partition(":")
    if twin and "." not in module:
        module = f"{twin}_impl.{module}"
    return module, path.replace("forward", _FORWARD[twin]) if twin else path


@contextmanager
def _planted(
    stand_in: Callable[..., Any], module: str, path: str, twin: str
) -> Generator[Original]:
    for framework in (twin,) if twin else FRAMEWORKS:
        _import_all(framework)
    # The module, or the class or table in it.
    *parents, name = path.split(".")
    owner: Any = functools.reduce(getattr, parents, importlib.import_module(module))
    in_table = issubclass(type(owner), dict)
    put: Callable[..., None] = setitem if in_table else setattr
    right = owner[name] if in_table else getattr(owner, name)
    original = Original(right, load_backend(twin) if twin else None)

    @functools.wraps(right)
    def wrong(*args: Any, **settings: Any) -> Any:
        original.count += 1
        return stand_in(original, *args, **settings)

    inherited = not in_table and name not in vars(owner)
    put(owner, name, wrong)
    if isinstance(owner, ModuleType) and right.__module__ == module:
        _exchange(right, wrong)
    try:
        yield original
    finally:
        if inherited:
            delattr(owner, name)
        else:
            put(owner, name, right)
        # Also in modules that imported it meanwhile.
        _exchange(wrong, right)


def _import_all(twin: str) -> None:
    # A module that is imported later would import what was planted, and keep it.
    load_backend(twin, tune=True)
    package = importlib.import_module(f"{twin}_impl")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def _exchange(old: Any, new: Any) -> None:
    for title, module in list(sys.modules.items()):
        if title.partition(".")[0] in _PACKAGES:
            for name, value in list(vars(module).items()):
                if value is old:
                    setattr(module, name, new)
