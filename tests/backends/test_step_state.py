"""What a step keeps, takes up again and gives back."""

import numpy as np
import pytest

from tinynet.backend import load_backend

from steps import (
    PIXELS,
    RECIPE,
    SPEC,
    array,
    assert_same_bits,
    both,
    groups,
    part,
    started,
    take,
    train_step,
)


@pytest.mark.parametrize(
    ("framework", "parts", "precision"),
    [
        ("torch", 1, "float32"),
        ("torch", 2, "float32"),
        ("torch", 1, "float16"),
        ("mindspore", 1, "float32"),
        ("mindspore", 2, "float16"),
    ],
)
def test_a_resumed_run_goes_on_with_the_same_bits(framework, parts, precision):
    straight = train_step(framework, parts=parts, precision=precision)
    take(straight, range(3), parts)
    broken = train_step(framework, parts=parts, precision=precision)
    take(broken, range(2), parts)
    state = broken.read(started().progress)
    resumed = train_step(framework, state, parts=parts, precision=precision)
    take(resumed, [2], parts)
    found, expected = (step.read(started().progress) for step in (resumed, straight))
    assert_same_bits(found, expected)
    assert found.progress == expected.progress


@both
def test_what_was_read_or_given_stays(framework):
    given = started()
    copies = {
        name: {k: a.copy() for k, a in group.items()} for name, group in groups(given).items()
    }
    step = train_step(framework, given)
    take(step, [0, 1])
    read = step.read(given.progress)
    kept = {name: {k: a.copy() for k, a in group.items()} for name, group in groups(read).items()}
    images = part(RECIPE, 2).images.copy()
    take(step, [2])
    for state, expected in ((given, copies), (read, kept)):
        for name, tensors in expected.items():
            for key, tensor in tensors.items():
                np.testing.assert_array_equal(groups(state)[name][key], tensor, err_msg=key)
    np.testing.assert_array_equal(part(RECIPE, 2).images, images)


# What comes back


@both
@pytest.mark.parametrize("parts", [1, 2])
def test_the_wish_to_stop_comes_back(framework, parts):
    step = train_step(framework, parts=parts)
    batches = [part(RECIPE, 0, parts, which) for which in range(parts)]
    for stop in (False, True, False):
        report = array(step(batches, 1e-3, 0.9, stop=stop))
        assert report.shape == (2,)
        assert report[1] == float(stop)


@both
def test_the_predictor_has_the_weights_of_now(framework):
    step = train_step(framework)
    predictor = load_backend(framework).predict.Predictor
    for number in (0, 1):
        take(step, [number])
        state = step.read(started().progress)
        for ema, weights in ((False, state.weights), (True, state.ema)):
            expected = predictor(SPEC, weights, "cpu", load_backend(framework).predict.MODES[0])(
                PIXELS
            )
            found = step.predictor(ema)(PIXELS)
            np.testing.assert_array_equal(found, expected)
            # The function is that of the net with its batch norms, which the predictor folds.
            reference = load_backend("torch").probe
            net = reference.build(SPEC, weights, precision="float64")
            truth = reference.isolated(net, {"": PIXELS})[""]
            assert np.linalg.norm(found - truth) < 1e-5 * np.linalg.norm(truth)


def test_the_predictor_of_a_float64_run_answers_in_float32():
    step = train_step("torch", precision="float64")
    take(step, [0])
    assert step.predictor(ema=True)(PIXELS).dtype == np.float32
