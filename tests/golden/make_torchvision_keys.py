"""Writes torchvision_keys.json: names and shapes of torchvision's ResNets.

Needs torchvision and PyTorch; the tests need neither. Run it again for a newer torchvision and read
the diff.
"""

import json
from pathlib import Path

import torchvision

MODELS = ("resnet18", "resnet34", "resnet50")

golden = {"torchvision": torchvision.__version__.partition("+")[0]}
for model in MODELS:
    state = getattr(torchvision.models, model)().state_dict()
    # It counts batches for a running mean without momentum, which no net here uses.
    names = [name for name in state if not name.endswith(".num_batches_tracked")]
    golden[model] = {name: list(state[name].shape) for name in names}
rows = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items())
Path(__file__).with_name("torchvision_keys.json").write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")
