"""What travels in a checkpoint beside its tensors: strings that describe it, and checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

import tinynet
from tinynet.spec import Spec, spec_document

# Over the weights and all other metadata; in every checkpoint of our writing.
CONTENT_SHA256 = "content_sha256"
# Over every tensor of a training checkpoint and all metadata but the checksums.
TRAINING_SHA256 = "training_sha256"


def describe(spec: Spec, source: str = "", source_sha256: str = "") -> dict[str, str]:
    """Returns the metadata of a checkpoint except for its checksums.

    Args:
        spec: the net it is for.
        source: name of the file it was made from, empty where there was none.
        source_sha256: hash of that file.
    """
    return {
        "spec": json.dumps(spec_document(spec)),
        "spec_sha256": spec.sha256,
        "source": source,
        "source_sha256": source_sha256,
        "tinynet": tinynet.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }


def content_sha256(weights: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Returns the checksum named ``CONTENT_SHA256``.

    Args:
        weights: canonical key -> array, in manifest order.
        metadata: all of the file's; this checksum, if it is there, does not count.
    """
    return _sha256(weights, metadata, without=(CONTENT_SHA256,))


def training_sha256(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Returns the checksum named ``TRAINING_SHA256``; the other one covers it, so it comes first.

    Args:
        tensors: all that the file holds, in its order.
        metadata: all of the file's; neither checksum, if it is there, counts.
    """
    return _sha256(tensors, metadata, without=(CONTENT_SHA256, TRAINING_SHA256))


def _sha256(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], without: tuple[str, ...]
) -> str:
    # Over the metadata too, so that a bit that flips in the spec's text is seen like any other.
    covered = {key: text for key, text in metadata.items() if key not in without}
    digest = hashlib.sha256(json.dumps(covered, sort_keys=True).encode())
    for key, array in tensors.items():
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(array, "<f4").data.cast("B"))
    return digest.hexdigest()
