import json
from xml.etree import ElementTree

import pytest

from parity.curves import COLOURS, Curve, draw_curves, read_curve


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    records = [{"kind": "train", "step": step, "loss": 1 / step} for step in range(1, 9)]
    records.insert(4, {"kind": "evaluation", "step": 4, "loss": 7.0, "top1": 50.0})
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_curve_has_the_losses_of_training(log):
    curve = read_curve("run", log)
    assert curve == Curve("run", tuple(range(1, 9)), tuple(1 / step for step in range(1, 9)))
    assert read_curve("end", log, first=6).steps == (7, 8)
    assert read_curve("start", log, last=2).steps == (1, 2)


def test_the_picture_shows_every_part_and_only_differences(log):
    reference = read_curve("PyTorch, uninterrupted", log)
    same = read_curve("PyTorch", log, last=4)
    other = Curve("MindSpore", (5, 6, 7, 8), tuple(loss + 1e-6 for loss in reference.losses[4:]))
    svg = draw_curves(reference, [same, other])
    texts = {"".join(text.itertext()) for text in ElementTree.fromstring(svg).iter() if text.text}
    assert {"PyTorch, uninterrupted", "PyTorch", "MindSpore", "training loss", "step"} <= texts
    # Dots of the lower panel: one for each step of the part that differs, none for the other.
    marks = [
        element.get("style", "")
        for element in ElementTree.fromstring(svg).iter()
        if element.tag.endswith("use")
    ]
    assert [sum(colour in mark for mark in marks) for colour in COLOURS[1:3]] == [0, 4]
    assert svg == draw_curves(reference, [same, other])
