import numpy as np
import pytest

from samplerbench.metrics.measured import Measured


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": np.inf}, "the value is not finite: inf"),
        ({"se": np.nan}, "at least 0, got nan"),
        ({"se": -0.1}, "at least 0, got -0.1"),
        ({"count": 0}, "a whole number from 1 up, got 0"),
        ({"count": 2.5}, "a whole number from 1 up, got 2.5"),
        ({"note": 5}, "a note is text, got 5"),
        ({"influences": np.zeros((2, 1))}, r"influences of 1 dimension\(s\), got shape \[2, 1\]"),
        ({"influences": np.array([np.nan, 0])}, "influences are not all finite"),
        ({"halves": np.zeros((4, 3))}, r"halves are \[H, 2\], got \[4, 3\]"),
        ({"halves": np.full((4, 2), np.inf)}, "halves are not all finite"),
    ],
)
def test_what_no_metric_may_give(options, message):
    with pytest.raises(ValueError, match=message):
        Measured(**{"value": 1.0, **options})
