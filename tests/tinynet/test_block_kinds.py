import json

from tinynet.block_kinds import BLOCK_KINDS
from tinynet.spec import SPEC_DIRECTORY


def test_the_schema_lists_the_kinds():
    schema = json.loads((SPEC_DIRECTORY / "spec.schema.json").read_text())
    kind = schema["properties"]["stages"]["items"]["properties"]["kind"]
    assert kind["enum"] == list(BLOCK_KINDS)
    assert all(f'"{name}"' in kind["description"] for name in BLOCK_KINDS)
