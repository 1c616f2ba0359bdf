"""Tensors that stay in their file, and files of our writing, against the library's own reader."""

import os

import numpy as np
import pytest
import safetensors.numpy

from tinynet.checkpoints.safetensors_file import (
    SafetensorsFileError,
    StoredTensor,
    open_safetensors,
    read_safetensors,
    write_safetensors,
)

RNG = np.random.default_rng(0)
TENSORS = {
    "matrix": RNG.random((3, 5), np.float32),
    "number": np.array(0.25, np.float32),
    "nothing": np.empty((0, 3), np.float32),
    "transposed": RNG.random((4, 2), np.float32).T,
    "big-endian": RNG.random(7).astype(">f4"),
    "double": RNG.random(3),
    "count": np.array(7, np.int64),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        write_safetensors(file, TENSORS, {"top1": "59.9"})
    return path


def test_the_library_reads_what_is_written(path):
    read = safetensors.numpy.load_file(path)
    assert read.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert (read[name].shape, read[name].dtype) == (array.shape, array.dtype.newbyteorder("="))
        np.testing.assert_array_equal(read[name], array)


def test_a_stored_tensor_is_the_array_that_is_read(path):
    arrays, metadata = read_safetensors(path)
    stored, same = open_safetensors(path)
    assert metadata == same == {"top1": "59.9"}
    assert stored.keys() == arrays.keys()
    for name, array in arrays.items():
        tensor = stored[name]
        # Only what a checkpoint may hold; all else is small, or an error.
        assert isinstance(tensor, StoredTensor) == (array.dtype == np.float32)
        for field in ("shape", "dtype", "ndim", "size", "nbytes"):
            assert getattr(tensor, field) == getattr(array, field), (name, field)
        assert np.asarray(tensor).tobytes() == array.tobytes()
        assert np.asarray(tensor, np.float64).tobytes() == array.astype(np.float64).tobytes()


def test_every_reading_is_another_array(path):
    tensor = open_safetensors(path)[0]["matrix"]
    np.asarray(tensor)[:] = 0
    np.testing.assert_array_equal(tensor, TENSORS["matrix"])


def test_a_file_may_go_while_its_tensors_are_read(path):
    tensor = open_safetensors(path)[0]["matrix"]
    path.unlink()
    np.testing.assert_array_equal(tensor, TENSORS["matrix"])


def test_a_file_that_became_shorter_is_an_error(path):
    tensor = open_safetensors(path)[0]["matrix"]
    os.truncate(path, 100)
    with pytest.raises(
        SafetensorsFileError, match=r"a\.safetensors: cannot be read, it is damaged"
    ):
        np.asarray(tensor)


def test_what_numpy_has_not_is_refused_by_name(tmp_path):
    header = b'{"x":{"dtype":"F8_E8M0","shape":[4],"data_offsets":[0,4]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    for read in (read_safetensors, open_safetensors):
        with pytest.raises(SafetensorsFileError, match="x is F8_E8M0, expected F32"):
            read(path)
