import dataclasses

import numpy as np
import pytest
from sklearn.metrics import log_loss, top_k_accuracy_score

from tinynet.data.evaluation_batches import Prepared, RankShard
from tinynet.data.sources import PythonSource
from tinynet.spec import Preprocessing, load_spec
from tinynet.training import evaluation
from tinynet.training.evaluation import (
    EvaluationError,
    check_finite,
    evaluate,
    sum_metrics,
    top_classes,
)

IMAGES, CLASSES = 11, 7


class Numbered:
    # Each image holds its own place in the data set, so that a net can tell which one it was given.
    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return np.full((3, 2, 2), index, np.float32), int(self.labels[index])


class Table:
    # A net that looks its logits up.
    def __init__(self, logits):
        self.logits = logits
        self.given = []

    def __call__(self, images):
        indices = images[:, 0, 0, 0].astype(int)
        self.given += indices.tolist()
        return self.logits[indices]


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, (IMAGES, CLASSES)).astype(np.float32)


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, CLASSES, IMAGES)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, IMAGES, IMAGES + 1])
@pytest.mark.parametrize("workers", [0, 2])
def test_equals_scikit_learn_whatever_the_batch_size(logits, labels, batch_size, workers):
    net, counted = Table(logits), []
    result = evaluate(net, Numbered(labels), batch_size, workers, on_batch=counted.append)
    classes = range(CLASSES)
    for k, percent in ((1, result.top1), (5, result.top5)):
        expected = 100 * top_k_accuracy_score(labels, logits, k=k, labels=classes)
        assert percent == pytest.approx(expected, rel=1e-12)
    exponentials = np.exp(logits.astype(np.float64))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert result.loss == pytest.approx(log_loss(labels, probabilities, labels=classes), rel=1e-12)
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_array_equal(result.top.classes, np.argsort(-logits, axis=1)[:, :5])
    np.testing.assert_allclose(
        result.top.probabilities, np.sort(probabilities, axis=1)[:, :-6:-1], rtol=1e-12
    )
    assert net.given == list(range(IMAGES))
    assert result.images == sum(counted) == IMAGES
    assert max(counted) <= batch_size


def test_accuracies_are_neither_all_nor_nothing(logits, labels):
    # Otherwise the comparison above could not tell a right label from a shifted one.
    result = evaluate(Table(logits), Numbered(labels), 4)
    assert 0 < result.top1 < result.top5 < 100


def test_ties_go_to_the_lower_class():
    logits = np.zeros((6, 6), np.float32)
    logits[:, 4] = 1
    np.testing.assert_array_equal(top_classes(logits).classes, [[4, 0, 1, 2, 3]] * 6)
    result = evaluate(Table(logits), Numbered(np.arange(6)), 4)
    assert result.top1 == pytest.approx(100 / 6)
    assert result.top5 == pytest.approx(500 / 6)


def test_ties_among_many_classes():
    # Sorting algorithms keep the order of equals by themselves when there are few.
    logits = np.random.default_rng(0).integers(0, 9, (3, 1000)).astype(np.float32)
    expected = [sorted(range(1000), key=lambda k: (-row[k], k))[:5] for row in logits]
    np.testing.assert_array_equal(top_classes(logits).classes, expected)


def test_fewer_classes_than_five():
    logits = np.array([[0, 2, 1]], np.float32)
    result = evaluate(Table(logits), Numbered([2]), 1)
    assert (result.top1, result.top5) == (0, 100)
    np.testing.assert_array_equal(result.top.classes, [[1, 2, 0]])
    assert result.top.probabilities.sum() == pytest.approx(1, rel=1e-12)


def test_the_loss_of_large_logits_is_exact():
    logits = np.array([[3e4, -3e4], [1e4, 1e4]], np.float32)
    result = evaluate(Table(logits), Numbered([1, 0]), 2)
    assert result.loss == pytest.approx((6e4 + np.log(2)) / 2, rel=1e-12)


def test_images_per_second_is_of_the_whole_loop(logits, labels, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: clock[0])

    class Slow(Numbered):
        def __getitem__(self, index):
            clock[0] += 1
            return super().__getitem__(index)

    class SlowNet(Table):
        def __call__(self, images):
            clock[0] += len(images)
            return super().__call__(images)

    assert evaluate(SlowNet(logits), Slow(labels), 4).images_per_second == 0.5


# Bad input


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, IMAGES - 1])
def test_an_image_without_an_answer_is_named(logits, labels, value, index):
    logits[index, 3] = value
    with pytest.raises(EvaluationError, match=rf"^image {index}: .*NaN or an infinity"):
        evaluate(Table(logits), Numbered(labels), 4)
    with pytest.raises(EvaluationError, match=rf"^{index}\.png: "):
        evaluate(Table(logits), Numbered(labels), 4, image_name="{}.png".format)


def test_check_finite_accepts_numbers(logits):
    check_finite(logits, ["x"] * IMAGES)


def test_no_images_have_no_accuracy(logits):
    with pytest.raises(EvaluationError, match="no images"):
        evaluate(Table(logits), Numbered([]), 4)


def test_a_label_beyond_the_classes(logits, labels):
    labels[-1] = CLASSES
    with pytest.raises(EvaluationError, match="label 7, the net has 7 classes"):
        evaluate(Table(logits), Numbered(labels), 4)


def test_logits_of_another_shape(logits, labels):
    # A net that answers for a fixed batch, and one that keeps the spatial dimensions.
    with pytest.raises(EvaluationError, match=r"shape \(4, 7\) for 3 images"):
        evaluate(lambda _: logits[:4], Numbered(labels), 4)
    with pytest.raises(EvaluationError, match=r"shape \(4, 7, 1, 1\) for 4 images"):
        evaluate(lambda _: logits[:4, :, None, None], Numbered(labels), 4)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_must_be_positive(logits, labels, batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        evaluate(Table(logits), Numbered(labels), batch_size)


# Images that do not count, and shares of ranks


@pytest.mark.parametrize("uncounted", [[0], [3, 4, 5], [10], list(range(1, 11))])
def test_images_without_a_label_do_not_count(logits, labels, uncounted):
    labels[uncounted] = -1
    # Not even where the net answers nonsense for them, or would be right.
    logits[uncounted, CLASSES - 1] = 99
    kept = labels >= 0
    result = evaluate(Table(logits), Numbered(labels), 3)
    expected = evaluate(Table(logits[kept]), Numbered(labels[kept]), 3)
    assert result.images == expected.images == IMAGES - len(uncounted)
    for name in ("top1", "top5", "loss"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), rel=1e-12)
    np.testing.assert_array_equal(result.labels, labels)
    assert len(result.top.classes) == IMAGES


def test_an_image_that_does_not_count_may_have_no_answer(logits, labels):
    labels[4] = -1
    logits[4] = 0
    logits[4, 2] = np.inf
    assert evaluate(Table(logits), Numbered(labels), 4).images == IMAGES - 1


def test_nothing_that_counts(logits):
    with pytest.raises(EvaluationError, match="no images"):
        evaluate(Table(logits), Numbered(np.full(IMAGES, -1)), 4)
    nothing = sum_metrics(Table(logits), Numbered(np.full(IMAGES, -1)), 4)
    assert nothing == (0, 0, 0, 0.0)
    for name in ("top1", "top5", "mean_loss"):
        with pytest.raises(EvaluationError, match="no images"):
            getattr(nothing, name)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, IMAGES, IMAGES + 2])
def test_tallies_of_ranks_add_up_to_the_evaluation_of_one(logits, labels, ranks):
    spec = dataclasses.replace(
        load_spec("tinynet_e").with_classes(CLASSES),
        input_size=(1, 2, 2),
        preprocessing=Preprocessing((0.0,), (1 / 255,), crop_fraction=1.0),
    )
    pictures = [np.full((2, 2), index, np.uint8) for index in range(IMAGES)]
    dataset = Prepared(PythonSource(list(zip(pictures, labels, strict=True)), spec), spec)

    def net(images):
        return logits[np.rint(images[:, 0, 0, 0]).astype(int)]

    expected = evaluate(net, dataset, 4)
    shares = [RankShard(dataset, rank, ranks) for rank in range(ranks)]
    parts = [sum_metrics(net, share, 2, image_name=share.name) for share in shares]
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part)
    assert total.images == sum(part.images for part in parts) == IMAGES
    assert total.top1 == pytest.approx(expected.top1, rel=1e-12)
    assert total.top5 == pytest.approx(expected.top5, rel=1e-12)
    assert total.mean_loss == pytest.approx(expected.loss, rel=1e-12)
    logits[IMAGES - 1, 2] = np.nan
    last = shares[(IMAGES - 1) % ranks]
    with pytest.raises(EvaluationError, match=rf"^data set\[{IMAGES - 1}\]: .*NaN"):
        sum_metrics(net, last, 2, image_name=last.name)
    # As an all-reduce adds them.
    np.testing.assert_allclose(np.sum(parts, axis=0), total, rtol=1e-12)


def test_sums_check_what_an_evaluation_checks(logits, labels):
    counted = []
    sum_metrics(Table(logits), Numbered(labels), 4, on_batch=counted.append)
    assert counted == [4, 4, 3]
    logits[2, 3] = np.nan
    with pytest.raises(EvaluationError, match=r"^2\.png: .*NaN or an infinity"):
        sum_metrics(Table(logits), Numbered(labels), 4, image_name="{}.png".format)
