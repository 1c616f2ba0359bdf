import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest

from tinynet.recipe import Ema, Schedule, load_recipe
from tinynet.training.schedule import (
    INITIAL_LOSS_SCALE,
    ema_decay,
    first_loss_scale,
    learning_rate,
    next_loss_scale,
    total_steps,
)

IMAGENET, RESNET, DIGITS = map(load_recipe, ("imagenet", "imagenet_resnet", "digits"))
IMAGES = 1_281_167  # ImageNet's


def single(number):
    """The float32 nearest to a number."""
    return float(np.float32(number))


def with_schedule(recipe, epochs=None, batch_size=None, **changes):
    return dataclasses.replace(
        recipe,
        epochs=epochs or recipe.epochs,
        batch_size=batch_size or recipe.batch_size,
        schedule=dataclasses.replace(recipe.schedule, **changes),
    )


# Steps of a run


def test_steps_of_the_paper_s_runs():
    # 450 x 1,281,167 / 1024 = 563,012.8 and 90 x 1,281,167 / 1024 = 112,602.6.
    assert total_steps(IMAGENET, IMAGES) == 563_013
    assert total_steps(RESNET, IMAGES) == 112_603
    assert total_steps(DIGITS, 1438) == 1349  # 30 x 1438 / 32 = 1348.1


@pytest.mark.parametrize("epochs", [0.1, 1.1, 2.3, 3.0, 7.7])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_as_few_steps_as_show_all_images(epochs, batch_size):
    # 1.1 x 10 is 11.000000000000002 in floating point: whole steps must not become one more.
    recipe = with_schedule(DIGITS, epochs, batch_size, warmup_epochs=0.0)
    for images in (1, 10, 37, 100):
        steps = total_steps(recipe, images)
        tenths = round(10 * epochs) * images  # a tenth of an epoch is a whole number of them
        assert 10 * steps * batch_size >= tenths > 10 * (steps - 1) * batch_size


# The staircase


def test_the_paper_s_warm_up_by_hand():
    # 3 epochs are 3753.4 steps of 1024 images: step 3753 is the last of the warm-up.
    def rate(step):
        return learning_rate(IMAGENET, step, IMAGES)

    assert rate(0) == single(1e-6)
    assert rate(1) == single(1e-6 + 0.047999 / 3753.4189453125)
    assert rate(1876) == pytest.approx(1e-6 + 0.047999 * 1876 / 3753.41895, rel=1e-7)
    assert single(0.0479) < rate(3753) < single(0.048)
    assert rate(3754) == single(0.048)
    slopes = np.diff([rate(step) for step in range(0, 3754, 250)])
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-5)


def test_the_paper_s_first_stairs_by_hand():
    # They end 5.4, 7.8 and 10.2 epochs after the start, after 6756.2, 9758.9 and 12761.6 steps.
    for first, factor in [(6757, 0.97), (9759, 0.97**2), (12_762, 0.97**3)]:
        assert learning_rate(IMAGENET, first, IMAGES) == single(0.048 * factor)
        assert learning_rate(IMAGENET, first - 1, IMAGES) == single(0.048 * factor / 0.97)


def test_every_stair_of_the_paper_s_run():
    # From stair to step, with whole numbers only; the code under test goes from step to stair.
    for stair in range(187):
        first = -((30 + 24 * stair) * IMAGES // -(10 * IMAGENET.batch_size))
        rates = {learning_rate(IMAGENET, step, IMAGES) for step in (first, first + 3001)}
        assert rates == {single(0.048 * 0.97**stair)}
        if stair:
            before = learning_rate(IMAGENET, first - 1, IMAGES)
            assert before == single(0.048 * 0.97 ** (stair - 1))
    assert first + 3001 > total_steps(IMAGENET, IMAGES) - 3003  # those were all


def test_the_resnets_rate_falls_at_30_and_60_epochs():
    # 37,534.2 and 75,068.4 steps.
    rates = [learning_rate(RESNET, step, IMAGES) for step in (0, 37_534, 37_535, 75_068, 75_069)]
    assert rates == [single(r) for r in (0.4, 0.4, 0.04, 0.04, 0.004)]
    assert learning_rate(RESNET, total_steps(RESNET, IMAGES) - 1, IMAGES) == single(0.004)


def test_a_stair_that_begins_on_a_step_begins_on_it():
    # 5 steps an epoch: 15 steps of warm-up, stairs of exactly 12. In floating point the third
    # would begin a step late, since 10.2 - 3 is less than 3 x 2.4 there.
    assert (10.2 - 3) // 2.4 == 2
    recipe = with_schedule(IMAGENET, batch_size=20)
    for step in range(15, 500):
        assert learning_rate(recipe, step, 100) == single(0.048 * 0.97 ** ((step - 15) // 12))


@pytest.mark.parametrize("decay_epochs", [0.5, 2.4, 7.0])
@pytest.mark.parametrize("warmup_epochs", [0.0, 0.3, 3.0])
def test_the_highest_rate_is_reached_whatever_the_stairs(decay_epochs, warmup_epochs):
    recipe = with_schedule(
        IMAGENET, 20.0, 8, decay_epochs=decay_epochs, warmup_epochs=warmup_epochs
    )
    rates = [learning_rate(recipe, step, 37) for step in range(total_steps(recipe, 37))]
    top = rates.index(max(rates))
    assert rates[top] == single(0.048)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top == math.ceil(Fraction(str(warmup_epochs)) * 37 / 8)


# The cosine


def test_the_cosine_by_hand():
    # 10 steps an epoch: 20 steps of warm-up, then 280 down.
    recipe = with_schedule(DIGITS, batch_size=10)
    rate = {step: learning_rate(recipe, step, 100) for step in (0, 10, 20, 90, 160, 230, 299, 300)}
    assert rate[0] == single(1e-6)
    assert rate[10] == single((1e-6 + 0.002) / 2)
    assert rate[20] == single(0.002)
    assert rate[90] == single(0.002 * (2 + math.sqrt(2)) / 4)
    assert rate[160] == single(0.001)
    assert rate[230] == single(0.002 * (2 - math.sqrt(2)) / 4)
    assert rate[299] == pytest.approx(0.002 * (math.pi / 280) ** 2 / 4, rel=1e-4)
    assert rate[300] == 0.0
    assert total_steps(recipe, 100) == 300


@pytest.mark.parametrize("epochs", [0.5, 0.75, 1.0, 2.5])
def test_a_short_cosine_comes_down_too(epochs):
    recipe = with_schedule(DIGITS, epochs, 10, warmup_epochs=0.0)
    steps = total_steps(recipe, 1000)
    assert learning_rate(recipe, 0, 1000) == single(0.002)
    assert learning_rate(recipe, steps // 2, 1000) == pytest.approx(0.001, rel=0.05)
    assert learning_rate(recipe, steps, 1000) == 0.0


@pytest.mark.parametrize("kind", ["cosine", "staircase"])
def test_a_run_that_is_all_warm_up(kind):
    recipe = dataclasses.replace(DIGITS, epochs=2.0, batch_size=10)
    recipe = dataclasses.replace(recipe, schedule=Schedule(kind, 0.002, 2.0, 0.0))
    rates = [learning_rate(recipe, step, 100) for step in range(total_steps(recipe, 100))]
    assert rates == [single(0.0001 * step) for step in range(20)]
    learning_rate(recipe, 20, 100)  # no run asks, but it must not divide by zero


def test_no_rate_below_zero_behind_the_end():
    recipe = with_schedule(DIGITS, batch_size=10)
    assert {learning_rate(recipe, step, 100) for step in (300, 301, 10_000)} == {0.0}


@pytest.mark.parametrize("recipe", [IMAGENET, RESNET, DIGITS], ids=lambda recipe: recipe.name)
def test_a_rate_is_a_float32_and_a_float(recipe):
    for step in range(0, total_steps(recipe, 5000), 7):
        rate = learning_rate(recipe, step, 5000)
        assert type(rate) is float
        assert rate == single(rate)
        assert rate >= 0


# The average


def test_decay_of_the_average():
    assert [ema_decay(Ema(0.9999), n) for n in (0, 1, 10**6)] == [0.9999] * 3
    warm = [ema_decay(Ema(0.995, warmup=True), n) for n in (0, 1, 2, 90, 1789, 1790, 10**6)]
    assert warm[:4] == [1 / 10, 2 / 11, 3 / 12, 91 / 100]
    assert warm[4] == 1790 / 1799 < 0.995
    assert warm[5:] == [0.995, 0.995]  # 1791 / 1800 is 0.995 exactly


# Loss scaling: torch.amp.GradScaler's rule, see tests/backends/test_step.py for itself


def test_the_loss_scale_doubles_after_2000_good_steps():
    scale, good = INITIAL_LOSS_SCALE, 0
    for step in range(1, 4001):
        scale, good = next_loss_scale(scale, good, finite=True)
        assert scale == 65536 * 2 ** (step // 2000)
        assert good == step % 2000


def test_the_loss_scale_halves_at_an_overflow_and_the_count_starts_anew():
    assert next_loss_scale(65536.0, 1999, finite=False) == (32768.0, 0)
    assert next_loss_scale(32768.0, 0, finite=True) == (32768.0, 1)
    assert next_loss_scale(1.5, 3, finite=False) == (1.0, 0)
    assert next_loss_scale(1.0, 3, finite=False) == (1.0, 0)


def test_the_first_loss_scale():
    for precision in ("float32", "bfloat16", "float64"):
        assert first_loss_scale(precision, 1.0) == 1.0
        assert first_loss_scale(precision, 4096.0) == 1.0
    assert first_loss_scale("float16", 1.0) == INITIAL_LOSS_SCALE == 65536.0
    assert first_loss_scale("float16", 4096.0) == 4096.0
