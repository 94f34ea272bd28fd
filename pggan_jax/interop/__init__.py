"""Readers of foreign file formats: TensorFlow graphs, PyTorch pickles, TFRecord files."""
