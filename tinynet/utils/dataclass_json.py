"""Dataclasses from parsed JSON and back: the fields' types say what each value becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_document(kind: type[T], document: Mapping[str, Any]) -> T:
    """Builds a dataclass from a JSON object that was checked against its schema.

    1 and 1.0 are one number in JSON; here each becomes what its field says. A list becomes a
    tuple, an object the field's dataclass.

    Args:
        kind: the dataclass.
        document: its fields by name; those with a default may be missing.
    """
    hints = _hints(kind)
    return kind(**{key: _value(hints[key], value) for key, value in document.items()})


def to_document(value: Any) -> Any:
    """Returns a value as JSON has it: the inverse of :func:`from_document`.

    Dataclasses become objects without the fields that are None, tuples become lists.
    """
    if dataclasses.is_dataclass(value):
        values = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {key: to_document(inner) for key, inner in values if inner is not None}
    if isinstance(value, tuple):
        return [to_document(item) for item in cast("tuple[Any, ...]", value)]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, value: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        if value is None:
            return None
        # At most one of the types is a tuple, and no other takes a list.
        types = (one for one in get_args(hint) if one is not NoneType)
        hint = next(one for one in types if (get_origin(one) is tuple) == isinstance(value, list))
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], item) for item in value)
    if dataclasses.is_dataclass(hint):
        return from_document(cast(type[Any], hint), value)
    return hint(value) if hint in (int, float) else value
