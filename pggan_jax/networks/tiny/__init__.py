"""The small networks of the paper's test on 1,000 modes (spec 6.5)."""
