"""Conversion between all file formats."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

from tinynet.backend import load_backend
from tinynet.checkpoints.conversion import convert
from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.net.manifest import canonical_key, mindspore_keys

from parity.checks.base import IDENTICAL, SHARE, Check
from parity.context import Context
from parity.context_training import NATIVE_SUFFIX
from parity.distances import compare_bits, first_lost
from parity.results import CheckResult, Comparison
from parity.tracing import sources
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect


class CheckpointsCheck(Check):
    """A state survives each conversion between the file formats there are."""

    name = "checkpoints"
    title = "Conversion in all six directions"
    unit = SHARE
    reason = IDENTICAL

    def compare(self, context: Context) -> Iterator[Comparison]:
        original = Checkpoint(context.state, context.spec)
        for source, destination in itertools.permutations(_formats(context), 2):
            paths = context.folder / f"from{source}", context.folder / f"to{destination}"
            title = f"{source} to {destination}"
            try:
                save_checkpoint(paths[0], original)
                convert(*paths, context.spec)
                found = load_checkpoint(paths[1], context.spec).state
            except ValueError as error:
                note = str(error)
                yield Comparison(title, "whole file", math.inf, 0.0, kind="error", note=note)
                continue
            for key, truth in context.state.items():
                yield compare_bits(title, key, found.get(key), truth)

    def locate(self, context: Context, result: CheckResult) -> Suspect:
        first = result.failures[0]
        for key, name in mindspore_keys(context.spec).items():
            if canonical_key(name) != key:
                explanation = f"{name}, MindSpore's name, does not lead back to {key}."
                return self.suspect(first, Source.of(canonical_key), explanation)
        original = Checkpoint(context.state, context.spec)
        for suffix, framework in _formats(context).items():
            path = context.folder / f"alone{suffix}"
            native = framework and load_backend(framework).native_files.save_native
            source = Source.of(native or save_checkpoint)
            try:
                save_checkpoint(path, original)
                found = load_checkpoint(path, context.spec).state
            except ValueError as error:
                own = sources.of_error(error, context.spec)
                source = own if own and own.framework == framework else source
                explanation = f"A {suffix} file is not what was written: {error}"
                return self.suspect(first, source, explanation)
            if key := first_lost(found, context.state):
                lost = dataclasses.replace(first, where=key)
                return self.suspect(lost, source, f"A {suffix} file does not keep {key}.")
        explanation = "Each format keeps the state; converting between them does not."
        return self.suspect(first, Source.of(convert), explanation)


def _formats(context: Context) -> dict[str, str]:
    # Suffix -> the twin whose own format it is.
    return {".safetensors": "", **{NATIVE_SUFFIX[name]: name for name in context.frameworks}}
