"""Limit of the sheets of images that commands write."""

from __future__ import annotations

from pggan_jax.errors import UserError


def refuse_large_sheet(shape: tuple[int, int], *, named: str, advice: str) -> None:
    """Refuse a sheet that image readers, this program's among them, would refuse.

    Args:
        shape: (height, width) in pixels.
        named: the flags that determine it.
        advice: what to do.

    Raises:
        UserError: the sheet is too large.
    """
    from pggan_jax.data.images.decode import MAX_PIXELS

    height, width = shape
    if height * width > MAX_PIXELS:
        raise UserError(
            f"{named}: the sheet would be {height:,}x{width:,} pixels (height x width), at most {MAX_PIXELS:,} are written; "
            f"{advice}"
        )
