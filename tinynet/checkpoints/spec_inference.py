"""Finds which spec a checkpoint is of, from the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping

from tinynet.net.manifest import StateError, classifier_keys, manifest
from tinynet.spec import Spec, list_specs, load_spec


def infer_spec(shapes: Mapping[str, tuple[int, ...]], source: str) -> Spec:
    """Finds the shipped spec whose manifest has exactly these keys and shapes.

    The number of classes may differ from the shipped spec's; it is read off the classifier.
    Shapes cannot tell specs apart that differ only in what has no parameters (input size,
    activation, padding), so where several fit, none is guessed.

    Args:
        shapes: canonical key -> shape.
        source: what to call the state in errors.

    Raises:
        StateError: no shipped spec fits, or more than one does.
    """
    fitting: list[Spec] = []
    for name in list_specs():
        spec = load_spec(name)
        classes = shapes.get(classifier_keys(spec)[1], (0,))
        if len(classes) == 1 and classes[0] not in (0, spec.num_classes):
            spec = spec.with_classes(classes[0])
        if {key: entry.shape for key, entry in manifest(spec).items()} == dict(shapes):
            fitting.append(spec)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(spec.name for spec in fitting)
        raise StateError(f"{source}: its shapes fit several specs ({names}), name one with --spec")
    raise StateError(
        f"{source}: its {len(shapes)} tensors fit none of {', '.join(list_specs())}, "
        "name the spec with --spec to see what differs"
    )
