"""What a run writes besides checkpoints: its folder, console lines, JSON lines, TensorBoard."""
