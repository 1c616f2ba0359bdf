import os
import stat

import pytest

from tinynet.utils.atomic_files import write_atomically
from tinynet.utils.strict_json import DocumentError


def test_a_new_file_with_the_usual_rights(tmp_path):
    path = tmp_path / "new.txt"
    previous = os.umask(0o027)
    try:
        write_atomically(path, lambda temporary: temporary.write_text("new"))
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(previous)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_file_is_replaced_and_while_writing_still_there(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text("old")

    def write(temporary):
        assert temporary != path
        assert temporary.suffix == path.suffix
        temporary.write_text("half")
        assert path.read_text() == "old"
        temporary.chmod(0o400)  # as MindSpore leaves its checkpoints

    write_atomically(path, write)
    assert path.read_text() == "half"
    assert path.stat().st_mode & stat.S_IWUSR


@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_leaves_all_as_it_was(tmp_path, existed):
    path = tmp_path / "file.txt"
    if existed:
        path.write_text("old")

    def fail(temporary):
        temporary.write_text("half of the n")
        temporary.with_suffix(".tmp").write_text("left by a writer")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_atomically(path, fail)
    assert list(tmp_path.iterdir()) == ([path] if existed else [])
    assert not existed or path.read_text() == "old"


def test_a_writer_that_writes_nothing_is_a_fault(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        write_atomically(path, lambda temporary: None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_folder_to_write_into(tmp_path):
    path = tmp_path / "none" / "file.txt"
    with pytest.raises(DocumentError) as caught:
        write_atomically(path, lambda temporary: temporary.write_text("x"))
    assert str(caught.value) == f"{path}: the folder {path.parent} does not exist"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_file(tmp_path):
    with pytest.raises(DocumentError) as caught:
        write_atomically(tmp_path, lambda temporary: temporary.write_text("x"))
    assert str(caught.value) == f"{tmp_path}: is a folder, expected the name of a file to write"
