import numpy as np
import pytest

from samplerbench.stats.estimate import Estimate
from samplerbench.stats.halving import HALVINGS, halvings


def test_halvings_are_a_function_of_their_number_and_n():
    rows = halvings(101, 6)
    assert rows.shape == (6, 101)
    assert (rows.sum(axis=1) == 50).all()
    assert np.array_equal(halvings(101, 2), rows[:2])
    assert len(halvings(101)) == HALVINGS
    assert not np.array_equal(rows[0], rows[1])
    assert not np.array_equal(halvings(102, 1)[0, :101], rows[0])
    # fixed for all time: files of different versions pair
    assert np.flatnonzero(halvings(8, 1)[0]).tolist() == [3, 4, 6, 7]
    with pytest.raises(ValueError, match="at least 2 samples"):
        halvings(1)


def test_each_sample_is_in_a_half_as_often_as_in_the_other():
    rows = halvings(64, 2000)
    assert abs(rows.mean(axis=0) - 0.5).max() < 5 * 0.5 / 2000**0.5
    together = (rows[:, :-1] & rows[:, 1:]).mean(axis=0)
    assert abs(together - 0.5 * 31 / 63).max() < 5 * 0.43 / 2000**0.5


def test_the_value_at_infinity_has_no_bias_of_one_over_n(mean_of):
    x = np.random.default_rng(0).normal(size=100)
    one = mean_of(x, bias=7.0)
    assert one.value == pytest.approx(x.mean() + 0.07)
    assert one.at_infinity == pytest.approx(x.mean())
    assert one.error() == pytest.approx(x.std(ddof=1) / 10)
    assert one.error(extrapolated=True) == pytest.approx(one.error())  # the means of both halves are all the same
    assert Estimate(1.0, 10, 0.1).at_infinity is None
    assert Estimate(1.0, 10, 0.1).error(extrapolated=True) is None


def test_loadings_have_the_length_of_the_error(mean_of):
    x = np.random.default_rng(0).normal(size=400)
    assert np.linalg.norm(mean_of(x).loadings()) == pytest.approx(mean_of(x).se)
    lengths = [
        np.linalg.norm(mean_of(np.random.default_rng(seed).normal(size=400), influences=False).loadings())
        for seed in range(300)
    ]
    assert np.mean(np.square(lengths)) == pytest.approx(1 / 400, rel=0.15)
    assert mean_of(x, influences=False, halves=False).loadings() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": np.nan}, "finite number, got nan"),
        ({"se": -1.0}, "at least 0, got -1"),
        ({"se": np.nan}, "at least 0, got nan"),
        ({"influences": np.zeros(4)}, r"influences of 5 .* got \(4,\)"),
        ({"influences": np.array([0, 1, np.inf, 0, 0])}, "not all finite"),
        ({"halves": np.zeros((3, 3))}, r"got \(3, 3\)"),
        ({"n": 0}, "at least one sample"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Estimate(**{"value": 1.0, "n": 5, **options})
