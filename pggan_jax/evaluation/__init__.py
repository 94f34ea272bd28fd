"""How good a run is: one file per metric."""
