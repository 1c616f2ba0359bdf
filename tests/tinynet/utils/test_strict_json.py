import pytest

from tinynet.utils.strict_json import DocumentError, check_document, format_path, read_text


def test_paths_as_a_reader_would_write_them():
    assert format_path(["stages", 3, "kernel_size"]) == "stages[3].kernel_size"
    assert format_path([2, "a"]) == "[2].a"
    assert format_path([]) == ""


def test_a_schema_without_descriptions_still_gives_a_message():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["b"]}
    with pytest.raises(DocumentError) as caught:
        check_document({"a": 1}, schema, "d.json")
    assert str(caught.value) == 'd.json: the key "b" is missing, expected a value'
    with pytest.raises(DocumentError) as caught:
        check_document({"a": "x", "b": 1}, schema, "d.json")
    assert str(caught.value) == "d.json: a is \"x\", expected 'x' is not of type 'integer'"


def test_reading_text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("Grüße\n".encode())
    assert read_text(path) == "Grüße\n"
    path.write_bytes(b"abc\xff")
    with pytest.raises(DocumentError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}: not UTF-8 text (byte 3)"
