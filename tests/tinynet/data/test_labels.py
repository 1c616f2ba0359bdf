import dataclasses

import pytest

from tinynet.data.labels import class_names, wordnet_ids
from tinynet.spec import SpecError, load_spec


def test_imagenet_has_its_thousand_classes_in_the_standard_order():
    names = class_names(load_spec("tinynet_c"))
    assert len(names) == 1000
    assert names[0] == "tench, Tinca tinca"
    assert names[207] == "golden retriever"
    assert names[282] == "tiger cat"
    assert names[967] == "espresso"
    assert names[999] == "toilet tissue, toilet paper, bathroom tissue"
    assert all(name and name == name.strip() for name in names)


def test_wordnet_ids_ascend():
    ids = wordnet_ids()
    assert (len(ids), ids[0], ids[967], ids[999]) == (1000, "n01440764", "n07920052", "n15075141")
    assert list(ids) == sorted(set(ids))
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in ids)


def test_a_spec_names_its_own_classes():
    spec = load_spec("tinynet_e").with_classes(2, ("cat", "dog"))
    assert class_names(spec) == ("cat", "dog")


def test_a_spec_without_labels_counts_its_classes():
    assert class_names(load_spec("tinynet_e").with_classes(3)) == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "birds"}, 'tinynet_e: labels is "birds", expected "imagenet1k" or a list'),
        ({"num_classes": 10}, "has 1000 names, expected num_classes = 10"),
    ],
)
def test_labels_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        class_names(dataclasses.replace(load_spec("tinynet_e"), **changes))
