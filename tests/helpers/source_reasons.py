"""Why a source cannot be opened, or cannot use an image."""

from __future__ import annotations

import pytest

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.errors import UserError


def reason_for(source, index=0):
    """Why an image is unusable: one line that does not repeat its name."""
    with pytest.raises(UnusableImageError) as caught:
        source.read(index)
    reason = str(caught.value)
    assert source.item_name(index) not in reason
    assert "\n" not in reason
    return reason


def refusal_of(open_source, path, *, kind):
    """Why a source cannot be opened: one printable line that begins with the setting."""
    with pytest.raises(UserError) as caught:
        open_source(str(path))
    message = str(caught.value)
    assert message.startswith(f"data.source = '{kind}:")
    assert "\n" not in message
    message.encode()
    return message
