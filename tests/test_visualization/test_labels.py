"""Label maps become the colours of a palette."""

import numpy as np
import pytest

from mmseg_ssprompt.analysis.figures import colour_labels

PALETTE = np.array([[250, 10, 20], [30, 240, 40]])


@pytest.mark.parametrize('dtype', [np.uint8, np.int64])
def test_classes_get_their_colours_and_the_rest_is_black(dtype):
    picture = colour_labels(np.array([[0, 1, 2], [1, 254, 255]], dtype), PALETTE)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [
        [[250, 10, 20], [30, 240, 40], [0, 0, 0]],
        [[30, 240, 40], [0, 0, 0], [0, 0, 0]],
    ]
