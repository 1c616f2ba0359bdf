"""Recordings: what one framework computed, and from what, in files that are compared elsewhere.

A recording is a folder: ``manifest.json`` describes it, ``given.safetensors`` has what the net
was given, ``recorded.safetensors`` what came out, and where the reference was there
``truth.safetensors`` has the same in float64. Reading one needs no framework.

Of what came out a tensor is kept whole up to :data:`SAMPLE` numbers; of a larger one so many, the
same in every recording, drawn by the counter-based generator. An error is a root mean square, which
so many numbers show to about a hundredth, and a recording can be sent from one machine to another.
Files call a recording a pack, as the first version of this project did.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinynet.checkpoints.safetensors_file import read_safetensors, write_safetensors
from tinynet.net.manifest import TRAINED_ROLES, State, check_state, check_tensors, manifest
from tinynet.recipe import Recipe, parse_recipe, recipe_document
from tinynet.spec import Spec, parse_spec, spec_document
from tinynet.utils.random_numbers import uniform
from tinynet.utils.strict_json import format_document, object_schema, read_checked, value_schema

from parity.distances import Array, norm
from parity.tolerances.bounds import ROUNDOFFS
from parity.tolerances.calibration import Setting

MANIFEST = "manifest.json"
# The most numbers of a tensor that are kept.
SAMPLE = 4096
# How the losses of the stretch of training are named, before the number of the step.
LOSS = "trajectory/loss of step "

_VERSION = 1
_GIVEN, _RECORDED, _TRUTH = "given.safetensors", "recorded.safetensors", "truth.safetensors"
# What is given, as arrays of their own and as groups of them.
_SINGLE, _GROUPS = ("pixels", "training_pixels", "labels"), ("state", "layer", "gradient")
# What the manifest has as a recording has it.
_PLAIN = ("weights", "seed", "images_sha256", "environment", "switches")


class RecordingError(ValueError):
    """A folder that is not the recording it should be. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a recording starts from: the same bits in whichever framework.

    The state is canonical, ``pixels`` (N, C, H, W) are of the evaluation, ``training_pixels``
    (N, C, H, W) and ``labels`` (N,) of the training step. ``layer_inputs`` has each layer's input
    when it runs alone, ``gradients`` by trained key what the optimizers are given.
    """

    state: State
    pixels: Array
    training_pixels: Array
    labels: Array
    layer_inputs: dict[str, Array]
    gradients: State

    @property
    def tensors(self) -> dict[str, Array]:
        """Returns all arrays under the names they have in the file."""
        groups = zip(_GROUPS, (self.state, self.layer_inputs, self.gradients), strict=True)
        return {name: getattr(self, name) for name in _SINGLE} | {
            f"{group}/{name}": array for group, arrays in groups for name, array in arrays.items()
        }


class Recorded(NamedTuple):
    """A tensor that was computed: the numbers that are kept, its whole shape and norm."""

    sample: Array
    shape: tuple[int, ...]
    norm: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What was computed, from what and where.

    Tensors are named "check/where", or "check/part/where" where a check has several parts, and
    come in the order in which data (or gradients) flow.

    Attributes:
        setting: the framework, its version, the device, the precision and the mode.
        spec: the net.
        recipe: of the stretch of training.
        weights: what to call the state.
        seed: of pixels, labels, training images, and of the state if it was made.
        images_sha256: hash of the training images.
        environment: what numbers may depend on.
        switches: the framework's own, on which they may depend too.
        given: what the net was given.
        recorded: name -> tensor.
        noise: name -> relative rms error of rounding in float32.
        truth: name -> tensor in float64; empty where the reference was not there.
    """

    setting: Setting
    spec: Spec
    recipe: Recipe
    weights: str
    seed: int
    images_sha256: str
    environment: dict[str, str]
    switches: dict[str, str]
    given: Given
    recorded: dict[str, Recorded]
    noise: dict[str, float]
    truth: dict[str, Recorded]


def sample(name: str, values: Array) -> Array:
    """Picks what a recording keeps of a tensor: all numbers (flat), or :data:`SAMPLE` of them."""
    flat = values.reshape(-1)
    if flat.size <= SAMPLE:
        return flat
    places = np.floor(uniform((SAMPLE,), "pack", name) * flat.size).astype(np.int64)
    return flat[np.sort(places)]


def recorded(name: str, values: Array, dtype: type = np.float32) -> Recorded:
    """Returns a tensor as a recording keeps it."""
    return Recorded(sample(name, values).astype(dtype), values.shape, norm(values))


def write_recording(recording: Recording, folder: str | os.PathLike[str]) -> None:
    """Writes a recording; the folder appears when it is complete. Raises as :func:`check_free`."""
    folder = check_free(folder)
    files = {
        _GIVEN: recording.given.tensors,
        _RECORDED: {name: item.sample for name, item in recording.recorded.items()},
        _TRUTH: {name: item.sample for name, item in recording.truth.items()},
    }
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        whole = Path(temporary) / folder.name
        whole.mkdir()
        written = [name for name, tensors in files.items() if tensors]
        for name in written:
            with (whole / name).open("wb") as file:
                write_safetensors(file, files[name], {})
        document = _document(recording, {name: _sha256(whole / name) for name in written})
        (whole / MANIFEST).write_text(format_document(document), encoding="utf-8")
        whole.replace(folder)


def check_free(folder: str | os.PathLike[str]) -> Path:
    """Refuses a place where no recording can be, before long work ends there.

    Raises:
        RecordingError: the folder is there and not empty, or its own folder does not exist.
    """
    folder = Path(folder)
    if not folder.parent.is_dir():
        raise RecordingError(f"{folder}: the folder {folder.parent} does not exist")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecordingError(f"{folder}: is there already, expected a new or an empty folder")
    return folder


def read_recording(folder: str | os.PathLike[str]) -> Recording:
    """Reads a recording, all of which is verified.

    Raises:
        RecordingError: not a recording, damaged, or of another version.
        DocumentError: a manifest that is not what it should be.
        StateError: a state that does not fit the spec.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise RecordingError(f"{folder}: is not a recording, it has no {MANIFEST}")
    source = str(folder / MANIFEST)
    document: dict[str, Any] = read_checked(folder / MANIFEST, _SCHEMA)
    if document["sha256"] != _checksum(document):
        raise RecordingError(f"{source}: is damaged, its content does not match its checksum")
    tensors: dict[str, dict[str, Array]] = {_TRUTH: {}}
    for name, sha256 in document["files"].items():
        path = folder / name
        if not path.is_file():
            raise RecordingError(f"{path}: is missing, {MANIFEST} lists it")
        if _sha256(path) != sha256:
            damage = f"is damaged, it does not match the checksum in {MANIFEST}"
            raise RecordingError(f"{path}: {damage}")
        tensors[name] = read_safetensors(path)[0]
    for name, part in ((_RECORDED, "recorded"), (_TRUTH, "truth")):
        if set(tensors[name]) != set(document[part]):
            raise RecordingError(f"{folder / name}: has other tensors than {MANIFEST} lists")
    spec = parse_spec(json.dumps(document["spec"]), f"{source}: its spec")
    shapes = {name: tuple(item["shape"]) for name, item in document["recorded"].items()}
    norms = {name: item["norm"] for name, item in document["recorded"].items()}
    return Recording(
        setting=Setting(**document["setting"]),
        spec=spec,
        recipe=parse_recipe(json.dumps(document["recipe"]), f"{source}: its recipe"),
        **{name: document[name] for name in _PLAIN},
        given=_given(tensors[_GIVEN], document["layers"], spec, str(folder / _GIVEN)),
        recorded=_computed(tensors[_RECORDED], shapes, norms),
        noise=_numbers(document["noise"]),
        truth=_computed(tensors[_TRUTH], shapes, document["truth"]),
    )


def _document(recording: Recording, hashes: dict[str, str]) -> dict[str, Any]:
    document = {
        "pack_version": _VERSION,
        "setting": recording.setting._asdict(),
        **{name: getattr(recording, name) for name in _PLAIN},
        "spec": spec_document(recording.spec),
        "recipe": recipe_document(recording.recipe),
        "files": hashes,
        "layers": list(recording.given.layer_inputs),
        "recorded": {
            name: {"shape": item.shape, "norm": item.norm}
            for name, item in recording.recorded.items()
        },
        "noise": recording.noise,
        "truth": {name: item.norm for name, item in recording.truth.items()},
    }
    # JSON has no infinity and no NaN.
    document = json.loads(json.dumps(document), parse_constant=lambda constant: None)
    return document | {"sha256": _checksum(document)}


def _given(tensors: dict[str, Array], layers: list[str], spec: Spec, source: str) -> Given:
    groups: dict[str, State] = {name: {} for name in ("", *_GROUPS)}
    for name, array in tensors.items():
        group, _, rest = name.rpartition("/") if name in _SINGLE else name.partition("/")
        groups.setdefault(group, {})[rest] = array
    if set(groups["layer"]) != set(layers):
        raise RecordingError(f"{source}: has other layers than {MANIFEST} lists")
    if set(groups) != {"", *_GROUPS} or set(groups[""]) != set(_SINGLE):
        raise RecordingError(f"{source}: does not have the {', '.join(_SINGLE)} of a recording")
    entries = manifest(spec)
    trained = {key: entry.shape for key, entry in entries.items() if entry.role in TRAINED_ROLES}
    state = check_state(groups["state"], spec, source)
    gradients = check_tensors(groups["gradient"], trained, f"{source}: the gradients")
    inputs = {name: groups["layer"][name] for name in layers}
    return Given(state, **groups[""], layer_inputs=inputs, gradients=gradients)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checksum(document: Mapping[str, Any]) -> str:
    covered = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(covered).encode()).hexdigest()


def _numbers(values: dict[str, float | None]) -> dict[str, float]:
    return {name: math.inf if value is None else value for name, value in values.items()}


def _computed(
    samples: State, shapes: dict[str, tuple[int, ...]], norms: dict[str, float | None]
) -> dict[str, Recorded]:
    sizes = _numbers(norms).items()
    return {name: Recorded(samples[name], shapes[name], norm) for name, norm in sizes}


def _mapping(values: dict[str, Any], description: str) -> dict[str, Any]:
    return value_schema("object", description, additionalProperties=values)


_TEXT = value_schema("string", "a text")
_SIZE = value_schema(["number", "null"], "a number from 0, or null if it is not finite", minimum=0)
_LENGTH = value_schema("integer", "a whole number from 0", minimum=0)
_SHAPE = value_schema("array", "a shape", items=_LENGTH)
_PRECISION = {"enum": list(ROUNDOFFS), "description": f"one of {', '.join(ROUNDOFFS)}"}
_SETTING = {**dict.fromkeys(Setting._fields, _TEXT), "precision": _PRECISION}
_FILES: dict[str, Any] = dict.fromkeys((_GIVEN, _RECORDED, _TRUTH), _TEXT)
_TENSOR = object_schema("shape and norm", {"shape": _SHAPE, "norm": _SIZE})
_SCHEMA = object_schema(
    "a JSON object",
    {
        "pack_version": {"const": _VERSION, "description": f"{_VERSION}, the only one there is"},
        "setting": object_schema(", ".join(Setting._fields), _SETTING),
        **dict.fromkeys(_PLAIN, _TEXT),
        "seed": value_schema("integer", "a whole number"),
        **dict.fromkeys(("environment", "switches"), _mapping(_TEXT, "name -> text")),
        # By their own schemas.
        "spec": value_schema("object", "a spec"),
        "recipe": value_schema("object", "a recipe"),
        "files": object_schema("file -> its SHA-256", _FILES) | {"required": [_GIVEN, _RECORDED]},
        "layers": value_schema("array", "names of layers", items=_TEXT),
        "recorded": _mapping(_TENSOR, "tensors"),
        "noise": _mapping(_SIZE, "tensor -> noise"),
        "truth": _mapping(_SIZE, "tensor -> norm"),
        "sha256": _TEXT,
    },
)
