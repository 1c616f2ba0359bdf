"""Known differences: what a gate lets pass although it fails, each with a bound and a reason.

They are listed in a TOML file::

    [[difference]]
    id = "lite0-kinks-on-ascend"
    spec = "efficientnet_lite0"
    check = "gradients-chained"
    where = "blocks.*"
    candidate = "mindspore * ascend*"
    bound = { noise = 12.0 }
    reason = "ReLU6 rounds to the other side of a kink more often in float16"
    link = "https://example.org/issues/17"
"""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections import Counter
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any, Literal

from tinynet.utils import strict_json
from tinynet.utils.strict_json import DocumentError, object_schema, value_schema

from parity.report.document import with_present_keys
from parity.results import Comparison

NOT_RUN = "not run"
_NOT_RUN = (NOT_RUN, "not climbed")  # as written now, and in version 1


class KnownDifferenceError(DocumentError):
    """A file of known differences that is not what it must be. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class KnownDifference:
    """A failure that a gate lets pass, why, and where that is discussed.

    ``spec``, ``where`` (a layer, key, file or photograph) and ``candidate`` (such as "mindspore
    graph") are names or patterns with ``*``. ``bound`` is the largest error that is let pass, in
    multiples of rounding noise or in the check's own unit; 0 for a check that is not run at all.
    """

    id: str
    spec: str
    check: str
    where: str
    candidate: str
    unit: Literal["noise", "error", "not run"]
    bound: float
    reason: str
    link: str

    def is_about_check(self, spec: str, check: str) -> bool:
        """Says whether it is about a check that a spec cannot run, or did not."""
        return self.unit == NOT_RUN and self._has(spec, check)

    def is_about(self, spec: str, check: str, item: Comparison) -> bool:
        """Says whether it is about a comparison, however far that is off."""
        there = _matches(item.where, self.where) and _matches(item.candidate, self.candidate)
        return there and self.unit != NOT_RUN and self._has(spec, check)

    def excuses(self, item: Comparison) -> bool:
        """Says whether a comparison that it is about is within its bound."""
        return item.error <= self.bound * (item.noise if self.unit == "noise" else 1.0)

    def _has(self, spec: str, check: str) -> bool:
        return self.check == check and _matches(spec, self.spec)


def load_known_differences(
    path: str | os.PathLike[str], checks: Collection[str]
) -> tuple[KnownDifference, ...]:
    """Reads a file of known differences; one without any ``[[difference]]`` lists none.

    Args:
        path: a TOML file.
        checks: the names there are.

    Raises:
        KnownDifferenceError: naming the file, the place in it, what was found and expected.
    """
    source = os.fspath(path)
    with strict_json.raised_as(KnownDifferenceError):
        try:
            content: dict[str, Any] = {
                "difference": [],
                **tomllib.loads(strict_json.read_text(path)),
            }
        except tomllib.TOMLDecodeError as error:
            raise KnownDifferenceError(f"{source}: not valid TOML: {error}") from None
        # As JSON, which has neither dates nor an infinite bound.
        text = json.dumps(content, default=str)
        document = with_present_keys(strict_json.parse_document(text, source))
        strict_json.check_document(document, _SCHEMA, source)
    entries: list[dict[str, Any]] = document["difference"]
    for index, entry in enumerate(entries):
        place = f"{source}: difference[{index}]"
        if entry["check"] not in checks:
            raise KnownDifferenceError(
                f"{place}.check is {entry['check']!r}, expected one of {', '.join(checks)}"
            )
        for field in ("where", "candidate") if entry["bound"] in _NOT_RUN else ():
            if entry[field] != "*":
                raise KnownDifferenceError(
                    f'{place}.{field} is {entry[field]!r}, expected "*": what is not run '
                    "compares nothing anywhere"
                )
    for name, times in Counter(entry["id"] for entry in entries).items():
        if times > 1:
            raise KnownDifferenceError(f"{source}: the id {name} stands {times} times, expected 1")
    return tuple(_known_difference(**entry) for entry in entries)


def _known_difference(bound: Any, **fields: Any) -> KnownDifference:
    ((fields["unit"], limit),) = [(NOT_RUN, 0.0)] if bound in _NOT_RUN else bound.items()
    return KnownDifference(**fields, bound=limit)


def _matches(text: str, pattern: str) -> bool:
    # Some places have brackets, which mean something else in a pattern: stages[1].repeats.
    return text == pattern or fnmatchcase(text, pattern)


_TEXT = value_schema("string", "a text, not empty", minLength=1)
_NUMBER = value_schema("number", "a number above 0", exclusiveMinimum=0)
_FIELDS: dict[str, Any] = {
    "id": value_schema("string", "a name without spaces", pattern=r"^\S+$"),
    **dict.fromkeys(("spec", "check", "where", "candidate"), _TEXT),
    "bound": {
        "oneOf": [
            {"enum": list(_NOT_RUN)},
            *(object_schema("a bound", {unit: _NUMBER}) for unit in ("noise", "error")),
        ],
        "description": '{ noise = N }, { error = N } or "not run"',
    },
    "reason": _TEXT,
    "link": value_schema("string", "an address (https)", pattern=r"^https?://\S+$"),
}
_LIST = "a list of tables, each under [[difference]]"
_TABLE = object_schema("a table", _FIELDS)
_SCHEMA = object_schema(
    "a TOML document", {"difference": value_schema("array", _LIST, items=_TABLE)}
)
