"""Why a source cannot use an image."""

from __future__ import annotations

import pytest

from pggan_jax.data.images.decode import UnusableImageError


def reason_for(source, index=0):
    """Why an image is unusable: one line that does not repeat its name."""
    with pytest.raises(UnusableImageError) as caught:
        source.read(index)
    reason = str(caught.value)
    assert source.item_name(index) not in reason
    assert "\n" not in reason
    return reason
