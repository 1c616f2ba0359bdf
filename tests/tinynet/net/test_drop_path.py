import numpy as np
import pytest
from hypothesis import given

from tinynet.net.drop_path import drop_path_rates
from tinynet.spec import load_spec

from random_specs import specs


def test_rates_of_tinynet_b_by_hand():
    # 16 blocks; those that change shape have no branch to leave out. timm 1.0.31 has the same.
    rates = np.array(drop_path_rates(load_spec("tinynet_b"), 0.1))
    expected = [0, 0, 2, 0, 4, 0, 6, 7, 0, 9, 10, 0, 12, 13, 14, 0]
    np.testing.assert_allclose(16 * rates, 0.1 * np.array(expected), rtol=1e-14)


@given(specs())
def test_rates_of_any_net(spec):
    rates = drop_path_rates(spec, 0.2)
    assert len(rates) == len(spec.blocks())
    last = max(len(rates) - 1, 1) if spec.is_resnet else len(rates)
    for place, (rate, block) in enumerate(zip(rates, spec.blocks(), strict=True)):
        falls_back = block.has_skip or spec.is_resnet
        assert rate == (pytest.approx(0.2 * place / last) if falls_back else 0.0)
    assert set(drop_path_rates(spec, 0.0)) == {0.0}
