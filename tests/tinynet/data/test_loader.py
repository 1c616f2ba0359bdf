import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinynet.data.augment import augment
from tinynet.data.image_folder import find_images
from tinynet.data.loader import LoadingError, load_batches
from tinynet.data.masks import draw_masks
from tinynet.data.preprocessing import ImageError
from tinynet.data.sampling import BatchingError, Sample
from tinynet.data.sources import Digits, PythonSource
from tinynet.recipe import load_recipe
from tinynet.spec import load_spec
from tinynet.utils.random_numbers import uniform

ROOT = Path(__file__).parents[3]
SPEC = load_spec("tinynet_digits")
# 12 is divisible by every split below; 30 images are no multiple of it, so epochs end in batches.
RECIPE = dataclasses.replace(load_recipe("digits"), batch_size=12, drop_path_rate=0.2)
SEED = 3


class Greys:
    """30 images that tell their index by their brightness; some cannot be read."""

    def __init__(self, count=30, corrupt=()):
        self.count, self.corrupt = count, corrupt

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.corrupt:
            raise OSError("damaged")
        return np.full((8, 8), index, np.uint8), index % 10


def greys(**options):
    return PythonSource(Greys(**options), SPEC, "greys")


def load(source=None, recipe=RECIPE, seed=SEED, **options):
    options = {"first_step": 0, "last_step": 5} | options
    return list(load_batches(source or greys(), SPEC, recipe, seed, **options))


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for field, array, expected in zip(batch._fields, batch, other, strict=True):
            if isinstance(array, np.ndarray):
                assert array.dtype == expected.dtype
                np.testing.assert_array_equal(array, expected, err_msg=field)
            else:
                assert array == expected, field


def joined(batches):
    """Batches one after the other as one."""
    columns = zip(*batches, strict=True)
    return type(batches[0])(
        *(
            np.concatenate(column) if isinstance(column[0], np.ndarray) else sum(column, ())
            for column in columns
        )
    )


def indices(batch):
    # The digits recipe changes no brightness, so that images tell which they are.
    return batch.images[:, 16, 16, 0].tolist()


# What is in a batch


def test_the_whole_of_every_epoch_in_full_batches():
    batches = load()
    for batch in batches:
        assert (batch.images.shape, batch.images.dtype) == ((12, 32, 32, 1), np.uint8)
        assert (batch.labels.shape, batch.labels.dtype) == ((12,), np.int32)
        assert (batch.dropout.shape, batch.dropout.dtype) == ((12, 1280), np.float32)
        assert batch.drop_path.shape == (12, len(SPEC.blocks()))
        assert batch.drop_path.dtype == np.float32
        assert batch.skipped == ()
        assert batch.labels.tolist() == [index % 10 for index in indices(batch)]
    stream = [index for batch in batches for index in indices(batch)]
    assert sorted(stream[:30]) == sorted(stream[30:]) == list(range(30))
    assert stream[:30] != stream[30:] != list(range(30))


def test_a_batch_from_its_parts():
    # Every image by the numbers of its own sample, and the masks by the same.
    source = Digits("train", SPEC)
    recipe = dataclasses.replace(
        RECIPE, batch_size=200, augmentation=load_recipe("imagenet_randaugment").augmentation
    )
    [batch] = load(source, recipe, last_step=9, first_step=8)
    # Step 8 goes over the end of the first epoch.
    samples = [Sample(p // 1437, order(p // 1437, 1437)[p % 1437]) for p in range(1600, 1800)]
    assert {sample.epoch for sample in samples} == {1}
    for pixels, label, sample in zip(batch.images, batch.labels, samples, strict=True):
        image = source.image(sample.index)
        expected = augment(image, SPEC, recipe.augmentation, SEED, sample)
        np.testing.assert_array_equal(pixels, expected)
        assert label == source.label(sample.index)
    masks = draw_masks(SPEC, recipe, SEED, samples)
    np.testing.assert_array_equal(batch.dropout, masks.dropout)
    np.testing.assert_array_equal(batch.drop_path, masks.drop_path)


def order(epoch, images):
    return np.argsort(uniform((images,), SEED, epoch, "order"), kind="stable").tolist()


def test_a_recipe_without_masks():
    recipe = dataclasses.replace(RECIPE, dropout_rate=0.0, drop_path_rate=0.0)
    batch = load(recipe=recipe)[0]
    assert batch.dropout is batch.drop_path is None


def test_another_seed_is_another_run():
    assert indices(load()[0]) != indices(load(seed=4)[0])


# Memory


_EPOCH = """
import sys
from pathlib import Path
from PIL import Image
import numpy as np
from tinynet.data.image_folder import find_images
from tinynet.data.loader import load_batches
from tinynet.recipe import load_recipe
from tinynet.spec import load_spec

folder, engine = sys.argv[1:]
spec = load_spec("tinynet_e").with_classes(1, ("a",))
recipe = load_recipe("imagenet", ["batch_size=8", f"augmentation.engine={engine}"])
images = find_images(folder, spec)
page = 4096

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * page

for step, _ in enumerate(
    load_batches(images, spec, recipe, 0, first_step=0, last_step=len(images) // 8)
):
    if step == 10:
        before = resident()
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells it there")
@pytest.mark.parametrize("engine", ["pillow", "fast"])
def test_memory_is_flat_over_an_epoch(tmp_path, engine):
    if engine == "fast":
        pytest.importorskip("simplejpeg")
        pytest.importorskip("cykooz_resizer")
    (tmp_path / "a").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for number in range(400):
        image = Image.fromarray(np.roll(noise, number)).resize((400, 300))
        image.save(tmp_path / "a" / f"{number}.jpg")
    command = [sys.executable, "-c", _EPOCH, str(tmp_path), engine]
    grown = int(subprocess.check_output(command, cwd=ROOT, text=True))
    # An image is 360 kB decoded, and 34 kB as the net sees it, of which 320 come after the first.
    assert grown < 3e6


# The same, however it is loaded


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 25), np.uint8)
    for index, image in enumerate(pixels):
        path = root / str(index % 10) / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return find_images(root, SPEC)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(photographs, workers):
    recipe = dataclasses.replace(RECIPE, augmentation=load_recipe("imagenet").augmentation)
    expected = load(photographs, recipe, accumulation=2)
    assert_equal(load(photographs, recipe, accumulation=2, workers=workers), expected)


@pytest.mark.parametrize(("ranks", "accumulation"), [(2, 1), (1, 2), (2, 3), (3, 2), (12, 1)])
def test_ranks_share_the_batches_of_one(ranks, accumulation):
    shares = [load(ranks=ranks, rank=rank, accumulation=accumulation) for rank in range(ranks)]
    assert {len(share) for share in shares} == {5 * accumulation}
    # Part a * ranks + r is rank r's a-th.
    parts = [share[turn] for turn in range(5 * accumulation) for share in shares]
    assert {len(part.labels) for part in parts} == {12 // (ranks * accumulation)}
    assert_equal([joined(parts)], [joined(load())])


@pytest.mark.parametrize("workers", [0, 2])
def test_starting_later_is_going_on(workers):
    later = load(first_step=3, accumulation=2, workers=workers)
    assert_equal(later, load(accumulation=2)[6:])


def test_no_steps():
    assert load(first_step=5) == []
    assert load(first_step=5, workers=2) == []


# Corrupt images


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_image_stops_in_its_turn(workers):
    expected = load()
    bad = indices(expected[1])[4]
    batches = load_batches(
        greys(corrupt=[bad]), SPEC, RECIPE, SEED, first_step=0, last_step=5, workers=workers
    )
    assert_equal([next(batches)], expected[:1])
    with pytest.raises(ImageError, match=rf"^greys\[{bad}\]: OSError: damaged$"):
        next(batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_next_readable_image_replaces_a_damaged_one(workers):
    # 29 is followed by 0, since the data set is a ring.
    corrupt = [3, 4, 11, 29, 0]
    stand_in = {3: 5, 4: 5, 11: 12, 29: 1, 0: 1}
    batches = load(greys(corrupt=corrupt), on_corrupt="skip", workers=workers)
    for batch, whole in zip(batches, load(), strict=True):
        expected = [stand_in.get(index, index) for index in indices(whole)]
        assert indices(batch) == expected
        assert batch.labels.tolist() == [index % 10 for index in expected]
        np.testing.assert_array_equal(batch.dropout, whole.dropout)
        assert batch.skipped == tuple(
            f"greys[{index}]: OSError: damaged; greys[{stand_in[index]}] stands in"
            for index in indices(whole)
            if index in stand_in
        )


def test_a_stand_in_takes_the_place_in_every_way(photographs):
    # It is cropped, flipped and jittered by the numbers of the image for which it stands.
    recipe = dataclasses.replace(RECIPE, augmentation=load_recipe("imagenet").augmentation)
    damaged = dataclasses.replace(
        photographs,
        samples=tuple(
            ("absent.png" if index == 7 else path, label)
            for index, (path, label) in enumerate(photographs.samples)
        ),
    )
    copied = dataclasses.replace(
        photographs,
        samples=tuple(
            photographs.samples[8 if index == 7 else index] for index in range(len(photographs))
        ),
    )
    batches = load(damaged, recipe, on_corrupt="skip")
    assert sum(len(batch.skipped) for batch in batches) == 2
    unmarked = [batch._replace(skipped=()) for batch in batches]
    assert_equal(unmarked, load(copied, recipe))


@pytest.mark.parametrize("workers", [0, 1])
def test_no_readable_image_at_all(workers):
    with pytest.raises(ImageError, match=r"^no image of the data set can be read; the first err"):
        load(greys(corrupt=range(30)), on_corrupt="skip", workers=workers)


def test_a_wrong_label_is_no_corrupt_image():
    class Wrong(Greys):
        def __getitem__(self, index):
            return super().__getitem__(index)[0], 10

    with pytest.raises(ValueError, match="the label is 10, expected 0 to 9"):
        load(PythonSource(Wrong(), SPEC), on_corrupt="skip")


# Bad input


def test_a_batch_without_equal_parts():
    with pytest.raises(BatchingError, match="12 images has no 10 equal parts, 5 for each of 2"):
        load_batches(
            greys(), SPEC, RECIPE, SEED, first_step=0, last_step=1, ranks=2, accumulation=5
        )


def test_a_source_that_cannot_be_sent():
    dataset = Greys()
    dataset.file = sys.stdout
    with pytest.raises(LoadingError, match=r"cannot be sent .*; --workers 0 needs none$"):
        load(PythonSource(dataset, SPEC), workers=1)
