import json

import pytest

from parity.report.run_plot import read_curve
from parity.results import Series


@pytest.fixture
def records():
    records = [{"kind": "train", "step": step, "loss": 1 / step} for step in range(1, 9)]
    records.insert(4, {"kind": "evaluation", "step": 4, "loss": 7.0, "top1": 50.0})
    return records


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_curve_has_the_losses_of_training(records, tmp_path):
    log = write(tmp_path / "log.jsonl", records)
    losses = tuple(1 / step for step in range(1, 9))
    assert read_curve("run", log) == Series("run", losses)
    assert read_curve("end", log, after=6) == Series("end", losses[6:], first=7)
    assert read_curve("start", log, last=2) == Series("start", losses[:2])


def test_a_log_that_leaves_out_steps_is_refused(records, tmp_path):
    log = write(tmp_path / "log.jsonl", [item for item in records if item["step"] != 3])
    with pytest.raises(ValueError, match=r"log\.jsonl: tells of step 4, expected step 3"):
        read_curve("run", log)
