"""The two networks that grow in mirror, and how their parameters move to the next resolution."""
