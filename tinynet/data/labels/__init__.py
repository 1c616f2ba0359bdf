"""Label sets: the names of the classes of a net.

``imagenet1k.txt`` has one line per class of ILSVRC 2012 in the standard order (ascending WordNet
id): the id, a tab, the synonyms.

Source: the 1000 synsets of the ImageNet Large Scale Visual Recognition Challenge 2012; names are
the lemmas of WordNet 3.0 (Princeton University), as timm 1.0 lists them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tinynet.spec import Spec, SpecError

_IMAGENET = Path(__file__).parent / "imagenet1k.txt"


def class_names(spec: Spec) -> tuple[str, ...]:
    """Returns the names of a spec's classes in the order of its outputs.

    A spec without labels gets "class 0", "class 1" and so on.

    Raises:
        SpecError: ``labels`` names an unknown set, or one of another size than ``num_classes``.
    """
    if spec.labels is None:
        return tuple(f"class {index}" for index in range(spec.num_classes))
    if isinstance(spec.labels, tuple):
        return spec.labels
    if spec.labels != "imagenet1k":
        raise SpecError(
            f'{spec.name}: labels is "{spec.labels}", expected "imagenet1k" or a list of names'
        )
    names = tuple(name for _, name in _imagenet())
    if len(names) != spec.num_classes:
        raise SpecError(
            f'{spec.name}: labels is "imagenet1k", which has {len(names)} names, expected '
            f"num_classes = {spec.num_classes}"
        )
    return names


def wordnet_ids() -> tuple[str, ...]:
    """Returns the WordNet ids of ImageNet's 1000 classes, such as "n01440764", in class order."""
    return tuple(wnid for wnid, _ in _imagenet())


@cache
def _imagenet() -> tuple[tuple[str, str], ...]:
    rows = (line.partition("\t") for line in _IMAGENET.read_text(encoding="utf-8").splitlines())
    return tuple((wnid, name) for wnid, _, name in rows)
