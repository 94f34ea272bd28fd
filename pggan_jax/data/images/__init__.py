"""Processing of single images: decode, crop and resize, preview."""
