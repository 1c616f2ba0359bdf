import pytest

from tinynet.checkpoints import spec_inference
from tinynet.checkpoints.spec_inference import infer_spec
from tinynet.net.manifest import StateError, manifest
from tinynet.spec import list_specs, load_spec

from training_states import SMALL as SPEC


def shapes(spec):
    return {key: entry.shape for key, entry in manifest(spec).items()}


@pytest.mark.parametrize("name", list_specs())
def test_a_shipped_spec_is_found_by_its_shapes(name):
    found = infer_spec(shapes(load_spec(name)), "w")
    assert found == load_spec(name)


def test_another_number_of_classes_is_read_off_the_classifier():
    spec = load_spec("tinynet_d").with_classes(37)
    assert infer_spec(shapes(spec), "w") == spec


def test_shapes_that_fit_no_spec():
    with pytest.raises(StateError) as caught:
        infer_spec(shapes(SPEC), "w.pth")
    assert str(caught.value) == (
        f"w.pth: its {len(manifest(SPEC))} tensors fit none of {', '.join(list_specs())}, name "
        "the spec with --spec to see what differs"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"classifier.bias": ()},
        {"classifier.bias": (0,)},
        {"classifier.bias": (1000, 1)},
        {"classifier.bias": None},
        {"bn1.weight": (31,)},
        {"extra": (1,)},
    ],
)
def test_nearly_is_not_enough(change):
    almost = shapes(load_spec("tinynet_e")) | change
    with pytest.raises(StateError, match="fit none of"):
        infer_spec({key: shape for key, shape in almost.items() if shape is not None}, "w")


def test_of_several_that_fit_none_is_guessed(monkeypatch):
    monkeypatch.setattr(spec_inference, "list_specs", lambda: ["tinynet_e", "tinynet_e"])
    with pytest.raises(StateError) as caught:
        infer_spec(shapes(load_spec("tinynet_e")), "w")
    assert str(caught.value) == (
        "w: its shapes fit several specs (tinynet_e, tinynet_e), name one with --spec"
    )
