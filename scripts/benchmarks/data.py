"""The workload ``data``: from photographs on disk to what a net is given."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tinynet.data.evaluation_batches import Prepared
from tinynet.data.image_folder import ImageFolder, find_images
from tinynet.recipe import Recipe, load_recipe
from tinynet.spec import Spec, load_spec

from benchmarks import disk
from benchmarks.harness import Contestant, Job, Race
from benchmarks.peers import peer, twin, use_threads
from parity import inputs

# What most photographs of ImageNet have.
_SIZES, _QUALITY = ((500, 375), (500, 333), (375, 500)), 90
_IMAGES = len(_SIZES) * sum(map(len, inputs.PHOTOGRAPHS.values()))
# Of the loader. Workers are up to two batches ahead when a round begins: few images, of many.
_BATCH, _LOADED = 8, 512


def races(options: argparse.Namespace) -> Iterable[Race]:
    """The training transform, the evaluation transform, and the loader, for each spec.

    With disks to measure, reading from those and nothing else.
    """
    if options.disk:
        return disk.races(options)
    return [
        race
        for name in options.specs or ["tinynet_a"]
        for race in _races(options, load_spec(name), name)
    ]


def _races(options: argparse.Namespace, spec: Spec, name: str) -> list[Race]:
    shared = {"name": name, "folder": str(photographs())}

    def side(title: str, make: Callable[..., Job], limit: bool = False, **more: Any) -> Contestant:
        return Contestant(title, make, shared | more, limit=limit)

    def loaders(engine: str | None) -> list[Contestant]:
        here = [side(_workers(n), loader, engine=engine, workers=n) for n in (0, 1, 2)]
        if engine is not None or options.before is None:
            return here
        return here + [one.with_before(options.before)[1] for one in here[1:]]

    size = spec.input_size[1]
    training_sides = [
        side('engine "fast"', training, engine="fast"),
        *side('engine "pillow"', training, engine=None).with_before(options.before),
        side("timm", timm_transform, training=True, normalised=True),
        side("timm, not normalised", timm_transform, training=True, normalised=False),
        side("JPEG decoding alone", decode, limit=True, library="simplejpeg"),
    ]
    plain = {"training": False, "normalised": True}
    evaluation_sides = [
        *side("preprocess", evaluation).with_before(options.before),
        side("timm", timm_transform, **plain),
        side("timm, memory as found", timm_transform, **plain, keep_memory=False),
        side("JPEG decoding alone, Pillow", decode, limit=True, library="pillow"),
    ]
    races = [
        Race(f"training transform to {size} px", "images", _IMAGES, training_sides),
        Race(f"evaluation transform to {size} px", "images", _IMAGES, evaluation_sides),
    ]
    for engine in ("fast", None):
        title = f'loader, engine "{engine or "pillow"}", {size} px'
        races.append(Race(title, "images", _LOADED, loaders(engine)))
    return races


def _workers(count: int) -> str:
    return "in the training process" if count == 0 else f"{count} worker" + "s" * (count > 1)


@cache
def photographs() -> Path:
    """A folder with photographs as JPEGs, in ImageNet's layout; it lasts as long as the process.

    Raises:
        ValueError: a package whose photographs they are is not installed.
    """
    found = inputs.photographs()
    if len(_SIZES) * len(found) < _IMAGES:
        missing = ", ".join(inputs.PHOTOGRAPHS)
        raise ValueError(
            f"of the photographs of {missing} some are missing: pip install 'tinynet-twins[demo]'"
        )
    _KEPT.append(tempfile.TemporaryDirectory(prefix="photographs"))
    root = Path(_KEPT[-1].name)
    (root / "photograph").mkdir()
    for path in found:
        with Image.open(path) as image:
            photograph = image.convert("RGB")
        for width, height in _SIZES:
            fitted = ImageOps.fit(photograph, (width, height), Image.Resampling.LANCZOS)
            target = root / "photograph" / f"{path.stem}_{width}x{height}.jpg"
            fitted.save(target, quality=_QUALITY)
    return root


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def training(name: str, folder: str, engine: str | None) -> Job:
    """Every photograph once, as training takes it: decoded, cropped, flipped, jittered; uint8."""
    source, recipe = _source(name, folder), _recipe(engine)
    from tinynet.data.sampling import Sample

    spec, augmentation = source.spec, recipe.augmentation
    epochs = itertools.count()
    if engine == "fast":
        from tinynet.data import fast_engine

        def once(epoch: int, index: int) -> object:
            pixels = fast_engine.load_pixels(source, index, spec.input_size[0])
            return fast_engine.augment_pixels(pixels, spec, augmentation, 0, Sample(epoch, index))
    else:
        from tinynet.data.augment import augment

        def once(epoch: int, index: int) -> object:
            return augment(source.image(index), spec, augmentation, 0, Sample(epoch, index))

    def all_once() -> None:
        epoch = next(epochs)
        for index in range(len(source)):
            once(epoch, index)

    return Job(all_once)


def evaluation(name: str, folder: str) -> Job:
    """Every photograph once, as the PyTorch twin evaluates it: float32, normalised."""
    twin("torch")  # which tunes its process
    source = _source(name, folder)
    prepared = Prepared(source, source.spec)

    def all_once() -> None:
        # Each is let go of at once, as timm's are: kept, they would take memory out of the cache.
        for index in range(len(source)):
            prepared[index]

    return Job(all_once)


def timm_transform(
    name: str, folder: str, training: bool, normalised: bool, keep_memory: bool = True
) -> Job:
    """Every photograph once through timm's transform, by its defaults but for the spec's settings.

    Source: timm 1.0, ``create_transform`` and ``ImageDataset``. Without normalisation, which its
    prefetcher does on the device, it ends in uint8.
    """
    create = peer("timm.data").create_transform
    if keep_memory:
        twin("torch")  # which tunes its process
    use_threads(1)
    random.seed(0)
    source = _source(name, folder)
    settings = source.spec.preprocessing
    transform = create(
        input_size=source.spec.input_size,
        is_training=training,
        use_prefetcher=not normalised,
        interpolation=settings.interpolation,
        mean=settings.mean,
        std=settings.std,
        crop_pct=settings.crop_fraction,
    )

    def once(path: str) -> object:
        with open(path, "rb") as file:  # noqa: PTH123 - as timm does
            return transform(Image.open(file).convert("RGB"))

    return _each(source, once)


def decode(name: str, folder: str, library: str) -> Job:
    """Every photograph decoded, and nothing else."""
    source = _source(name, folder)
    functions: Mapping[str, Callable[[str], object]] = {
        "simplejpeg": lambda path: peer("simplejpeg").decode_jpeg(Path(path).read_bytes()),
        "pillow": lambda path: Image.open(path).load(),
    }
    return _each(source, functions[library])


def loader(name: str, folder: str, engine: str | None, workers: int) -> Job:
    """Batches as training loads them, of photographs without end."""
    from tinynet.data.loader import load_batches

    source = _source(name, folder)
    stream = load_batches(
        source, source.spec, _recipe(engine), 0, first_step=0, last_step=10**9, workers=workers
    )
    return Job(lambda: [next(stream) for _ in range(_LOADED // _BATCH)][:0])


def _each(source: ImageFolder, once: Callable[[str], object]) -> Job:
    def all_once() -> None:
        for path, _ in source.samples:
            once(path)

    return Job(all_once)


def _source(name: str, folder: str) -> ImageFolder:
    spec = dataclasses.replace(load_spec(name), labels=None)
    return find_images(folder, spec.with_classes(1, ("photograph",)))


def _recipe(engine: str | None) -> Recipe:
    engines = [] if engine is None else [f"augmentation.engine={engine}"]
    return load_recipe("imagenet", [f"batch_size={_BATCH}", *engines])
