import dataclasses
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tinynet.data.evaluation_batches import Prepared, RankShard, batches
from tinynet.data.image_folder import find_images
from tinynet.data.preprocessing import ImageError, load_input, preprocess
from tinynet.data.sources import Digits, PythonSource
from tinynet.spec import Preprocessing, load_spec

COLOR = dataclasses.replace(load_spec("tinynet_e").with_classes(3), input_size=(3, 8, 8))
GREY = dataclasses.replace(COLOR, input_size=(1, 8, 8), preprocessing=Preprocessing((0.0,), (1.0,)))
DIGITS = load_spec("tinynet_digits")


def tree(root, *names):
    for brightness, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), brightness).save(root / name)


# Prepared for evaluation, and shared


def test_prepared_images_are_those_of_evaluation(tmp_path):
    tree(tmp_path, "a/0.png", "b/1.png", "c/2.png")
    source = find_images(tmp_path, GREY)
    prepared = Prepared(source, GREY)
    assert len(prepared) == 3
    for index in range(3):
        pixels, label = prepared[index]
        np.testing.assert_array_equal(pixels, load_input(source.name(index), GREY))
        assert label == index
    digits = Digits("test", DIGITS)
    np.testing.assert_array_equal(
        Prepared(digits, DIGITS)[5][0], preprocess(digits.image(5), DIGITS)
    )


def test_corrupt_images_stop_or_are_skipped(tmp_path):
    tree(tmp_path, "a/0.png", "b/1.png", "c/2.png")
    (tmp_path / "b" / "1.png").write_bytes(b"no image")
    Image.new("L", (1, 3_000_000)).save(tmp_path / "c" / "2.png")
    source = find_images(tmp_path, GREY)
    for index, message in ((1, "not an image"), (2, "too elongated")):
        with pytest.raises(ImageError, match=rf"\d\.png: .*{message}"):
            Prepared(source, GREY)[index]
    prepared = Prepared(source, GREY, on_corrupt="skip")
    assert prepared[0][1] == 0
    for index in (1, 2):
        pixels, label = prepared[index]
        assert (pixels.shape, pixels.dtype, label) == ((1, 8, 8), np.float32, -1)
        assert not pixels.any()
    assert list(prepared.skipped) == [1, 2]
    assert prepared.skipped[1].startswith(str(tmp_path / "b" / "1.png"))
    assert prepared.skipped[2].startswith(str(tmp_path / "c" / "2.png"))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_shares_have_every_image_once_and_the_same_length(length, ranks):
    dataset = [(np.full((4, 4), index, np.uint8), index % 3) for index in range(length)]
    prepared = Prepared(PythonSource(dataset, GREY), GREY)
    shares = [RankShard(prepared, rank, ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    items = [share[index] for share in shares for index in range(len(share))]
    counted = sorted(round(pixels[0, 0, 0] * 255) for pixels, label in items if label >= 0)
    assert counted == list(range(length))
    padding = [pixels for pixels, label in items if label < 0]
    assert len(padding) < ranks
    assert all(not pixels.any() and pixels.shape == (1, 8, 8) for pixels in padding)
    for rank in (-1, ranks):
        with pytest.raises(ValueError, match=f"rank is {rank}, expected 0 to {ranks - 1}"):
            RankShard(prepared, rank, ranks)


# Batches


class Numbers:
    """Items that say their index; decoding the earlier ones takes longer."""

    def __init__(self, length, bad=None):
        self.length, self.bad = length, bad
        self.decoded, self.lock = [], threading.Lock()

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == self.bad:
            raise ImageError("7.png: not an image")
        time.sleep(0.002 * (index % 3 == 0))
        with self.lock:
            self.decoded.append(index)
        return np.full((1, 2, 2), index, np.float32), index % 5


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("length", [0, 1, 5, 12, 13])
@pytest.mark.parametrize("batch_size", [1, 4, 5, 100])
def test_every_image_once_and_in_order(length, batch_size, workers):
    numbers = Numbers(length)
    seen = list(batches(numbers, batch_size, workers))
    assert [len(batch.labels) for batch in seen[:-1]] == [batch_size] * (len(seen) - 1)
    assert sorted(numbers.decoded) == list(range(length))
    indices = [index for batch in seen for index in batch.indices]
    assert indices == list(range(length))
    for images, labels, places in seen:
        assert images.shape == (len(places), 1, 2, 2)
        assert (images.dtype, labels.dtype, places.dtype) == (np.float32, np.int32, np.int32)
        np.testing.assert_array_equal(images[:, 0, 0, 0], places)
        np.testing.assert_array_equal(labels, places % 5)


def test_batches_of_an_image_folder(tmp_path):
    tree(tmp_path, "a/0.png", "b/1.png", "b/2.png", "c/3.png")
    dataset = find_images(tmp_path, GREY)
    first, second = batches(Prepared(dataset, GREY), batch_size=3, workers=2)
    assert first.labels.tolist() == [0, 1, 1]
    assert second.labels.tolist() == [2]
    for image, (path, _) in zip([*first.images, *second.images], dataset.samples, strict=True):
        np.testing.assert_array_equal(image, load_input(path, GREY))


@pytest.mark.parametrize("workers", [0, 3])
def test_a_bad_image_comes_out_in_its_turn(workers):
    seen = batches(Numbers(12, bad=7), 4, workers)
    assert next(seen).indices.tolist() == [0, 1, 2, 3]
    with pytest.raises(ImageError, match=r"7\.png"):
        next(seen)


@pytest.mark.parametrize("workers", [0, 3])
def test_decoding_keeps_within_a_batch_of_the_consumer(workers):
    numbers = Numbers(1000)
    threads = threading.active_count()
    seen = batches(numbers, 10, workers)
    next(seen)
    time.sleep(0.05)
    assert len(numbers.decoded) <= 2 * 10 + workers
    seen.close()
    assert len(numbers.decoded) <= 2 * 10 + workers
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "batch_size is 0, expected"), ((4, -1), "workers is -1, expected")],
)
def test_wrong_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(Numbers(3), *arguments)
