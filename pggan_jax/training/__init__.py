"""The mathematics of training: losses, the train step, the optimizer, the state."""
