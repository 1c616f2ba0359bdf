"""How a fault is planted: a function is replaced, in memory, wherever it was imported to."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import getitem, setitem
from types import ModuleType
from typing import Any

from tinynet.backend import FRAMEWORKS, Backend, load_backend
from tinynet.spec import SPEC_DIRECTORY, Head, Spec, Stage, Stem, load_spec

from parity.tracing.sources import Source, in_twin

BOTH = tuple(FRAMEWORKS)
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


class Reach:
    """Counts how often a run ran what was planted."""

    def __init__(self) -> None:
        self.count = 0


Injection = AbstractContextManager[Reach]


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One mistake, and what a proof of parity must say of it.

    Attributes:
        name: of the fault, and of the twin where it is in one.
        group: what it is a mistake in.
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
    inject: Callable[[], Injection]
    spec: str
    official: bool


class Group:
    """The faults of one kind, in the order in which they are declared.

    Args:
        name: what they are mistakes in.
    """

    def __init__(self, name: str):
        self.name = name
        self.faults: list[Fault] = []

    def fault(
        self,
        check: str | Mapping[str, str],
        where: str | Mapping[str, str],
        module: str,
        definition: str = "",
        twins: Sequence[str] = (),
        spec: str = "small",
        official: bool = False,
    ) -> Callable[[Callable[..., Injection]], Callable[..., Injection]]:
        """Declares a function, which plants a fault, as one or, for some twins, several faults.

        Args:
            check: the lowest check that must fail; by twin where it depends on that.
            where: the place that must be named; by twin likewise.
            module: the file that answers, without its suffix; for twins without their package.
            definition: in that file.
            twins: the function is given each of them; none for what the twins share.
            spec: the net.
            official: whether the defect is the official code's.
        """

        def declare(plant: Callable[..., Injection]) -> Callable[..., Injection]:
            description = " ".join((plant.__doc__ or "").split())
            for twin in twins or ("",):
                self.faults.append(
                    Fault(
                        f"{plant.__name__}_in_{twin}" if twin else plant.__name__,
                        self.name,
                        description,
                        check if isinstance(check, str) else check[twin],
                        where if isinstance(where, str) else where[twin],
                        in_twin(twin, module, definition)
                        if twin
                        else Source(f"{module}.py", definition),
                        functools.partial(_planted, plant, twin),
                        spec,
                        official,
                    )
                )
            return plant

        return declare


@contextmanager
def replaced(
    owner: Any, name: str, faulty: Callable[..., Any], here: bool = False
) -> Generator[Reach]:
    """Replaces a function; a module's also wherever it was imported to.

    Args:
        owner: the module, class or dict that holds it.
        name: its name there.
        faulty: is called in its place, with the right function before the arguments.
        here: only in the module named.

    Yields:
        What counts the calls.
    """
    get: Callable[..., Any] = getitem if isinstance(owner, dict) else getattr
    put: Callable[..., None] = setitem if isinstance(owner, dict) else setattr
    remove: Callable[..., None] = delattr
    right, reach = get(owner, name), Reach()
    inherited = not isinstance(owner, dict) and name not in vars(owner)

    @functools.wraps(right)
    def wrong(*args: Any, **settings: Any) -> Any:
        reach.count += 1
        return faulty(right, *args, **settings)

    put(owner, name, wrong)
    if isinstance(owner, ModuleType) and not here:
        _exchange(right, wrong)
    try:
        yield reach
    finally:
        if inherited:
            remove(owner, name)
        else:
            put(owner, name, right)
        # Also in modules that imported it meanwhile.
        _exchange(wrong, right)


def forward(twin: Backend) -> str:
    """What a twin calls a layer's method that computes."""
    return {"torch": "forward", "mindspore": "construct"}[twin.name]


def _planted(plant: Callable[..., Injection], twin: str) -> Injection:
    for name in (twin,) if twin else FRAMEWORKS:
        _import_all(name)
    return plant(load_backend(twin)) if twin else plant()


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
