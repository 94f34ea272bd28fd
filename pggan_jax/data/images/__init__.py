"""One image at a time: decode, crop, resize, preview."""
