"""Writes timm_keys.json: names and shapes of timm's nets, as the manifest must have them.

Needs timm and PyTorch; the tests need neither. Run it again for a newer timm and read the diff.
"""

import json
from pathlib import Path

import timm

MODELS = {f"tinynet_{letter}": f"tinynet_{letter}" for letter in "abcde"} | {
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_lite0": "tf_efficientnet_lite0",
}

golden = {"timm": timm.__version__}
for spec, model in MODELS.items():
    state = timm.create_model(model).state_dict()
    # It counts batches for a running mean without momentum, which no net here uses.
    names = [name for name in state if not name.endswith(".num_batches_tracked")]
    golden[spec] = {name: list(state[name].shape) for name in names}
rows = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items())
Path(__file__).with_name("timm_keys.json").write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")
