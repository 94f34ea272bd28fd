"""Readers of foreign file formats: protocol buffers, PyTorch pickles, TFRecord framing."""
