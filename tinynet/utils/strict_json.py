"""Strict JSON documents: one parser for specs and recipes, with errors a person can act on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn


class DocumentError(ValueError):
    """A JSON document that is not what its schema asks for. The message is one line."""


@contextmanager
def raised_as(error: type[DocumentError]) -> Generator[None]:
    """Raises what is wrong with a document as another error, with the same message."""
    try:
        yield
    except DocumentError as found:
        raise error(str(found)) from None


def parse_document(text: str, source: str) -> Any:
    """Parses JSON text strictly: without duplicate keys, NaN or numbers that overflow.

    Args:
        text: the document.
        source: what to call it in errors, usually the file's name.

    Returns:
        The document as plain Python values.

    Raises:
        DocumentError: naming the source, the place in it and what is wrong there.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_refuse_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"{source}: not valid JSON at {place}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        # Ours, or Python's: an integer of thousands of digits, brackets nested too deeply.
        raise DocumentError(f"{source}: {error}") from None


def check_document(document: Any, schema: dict[str, Any], source: str) -> None:
    """Checks a document against a schema.

    Args:
        document: from :func:`parse_document`.
        schema: a JSON Schema. Each property's ``description`` must read as the rest of the
            sentence "expected ...", since it becomes the error message.
        source: what to call the document in errors.

    Raises:
        DocumentError: naming the source, the place in it, what was found and what was expected.
    """
    # Imported here: a command that reads only shipped documents should not pay for it.
    from jsonschema import Draft202012Validator

    validator: Any = Draft202012Validator(schema)  # whose own types are incomplete
    errors = sorted(
        validator.iter_errors(document),
        key=lambda error: [str(step) for step in error.absolute_path],
    )
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise DocumentError(f"{source}: {_describe(errors[0])}{more}")


def read_checked(path: Path, schema: dict[str, Any]) -> Any:
    """Reads the document in a file and checks it; for errors see what each of the steps raises."""
    document = parse_document(read_text(path), str(path))
    check_document(document, schema, str(path))
    return document


@cache
def load_schema(path: Path) -> dict[str, Any]:
    """Returns the JSON Schema in a file that is shipped; not to be changed."""
    return json.loads(path.read_text(encoding="utf-8"))


def value_schema(kind: str | list[str], description: str, **limits: Any) -> dict[str, Any]:
    """Returns the JSON Schema of a value of a kind, or of several kinds, within limits."""
    return {"type": kind, "description": description, **limits}


def object_schema(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON Schema of an object that has all of these properties and no others."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def format_document(document: dict[str, Any], rows: str = "") -> str:
    """Returns a document as JSON text for people, with one line for each key.

    Args:
        document: plain Python values.
        rows: the key of a list that is given one line for each item, if there is one.
    """
    lines: list[str] = []
    for key, value in document.items():
        text = json.dumps(value)
        if key == rows:
            text = "[\n" + ",\n".join(f"    {json.dumps(row)}" for row in value) + "\n  ]"
        lines.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def format_path(steps: Iterable[str | int]) -> str:
    """Writes a JSON path the way a reader would: ``stages[3].kernel_size``."""
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path


def read_text(path: str | os.PathLike[str]) -> str:
    """Reads a UTF-8 text file.

    Raises:
        DocumentError: the file is missing, unreadable or not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: not UTF-8 text (byte {error.start})") from None


def list_documents(folder: Path) -> list[str]:
    """Returns the names of the documents shipped in a folder, in alphabetical order."""
    return sorted(path.stem for path in folder.glob("*.json") if ".schema" not in path.name)


def read_document(name_or_path: str | os.PathLike[str], folder: Path, kind: str) -> str:
    """Reads a document that is shipped in ``folder``, by its name, or any by the path of its file.

    Args:
        name_or_path: which one.
        folder: where documents have names.
        kind: what to call such a document in errors.

    Raises:
        DocumentError: it does not exist or cannot be read.
    """
    text = os.fspath(name_or_path)
    is_path = text.endswith(".json") or os.sep in text
    path = Path(text) if is_path else folder / f"{text}.json"
    if not is_path and not path.is_file():
        known = ", ".join(list_documents(folder))
        raise DocumentError(
            f"{text}: no such {kind}, expected the path of a .json file or one of {known}"
        )
    return read_text(path)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"the key {json.dumps(key)} stands twice in one object")
        document[key] = value
    return document


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e400: Python reads it as infinity
        raise ValueError(f"{text} is too large a number")
    return value


def _describe(error: Any) -> str:
    path = format_path(error.absolute_path)
    place = f" in {path}" if path else ""
    properties: dict[str, Any] = error.schema.get("properties", {})
    if error.validator == "additionalProperties":
        unknown = sorted(set(error.instance) - set(properties))[0]
        known = ", ".join(properties)
        return f"unknown key {json.dumps(unknown)}{place}, expected one of {known}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        expected = properties.get(missing, {}).get("description", "a value")
        return f"the key {json.dumps(missing)} is missing{place}, expected {expected}"
    found = json.dumps(error.instance)
    if len(found) > 60:
        found = found[:57] + "..."
    expected = error.schema.get("description", error.message)
    return f"{path or 'the document'} is {found}, expected {expected}"
