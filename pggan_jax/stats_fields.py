"""Names of the fields of stats.jsonl, for those who write it, check it and read it."""

from __future__ import annotations

PHASES = ("wait", "compile", "grow", "snapshot", "evaluate", "save")
"""Phases of the training loop; each is recorded as `PHASE_seconds`."""
VOLATILE_FIELDS = frozenset(
    {"images_per_second", "seconds_per_tick", "training_seconds", "growth_gap_seconds", "wait_share"}
    | {"compiles", "memory_bytes", "eta_seconds"}
    | {f"{phase}_seconds" for phase in PHASES}
)
"""Fields that depend on the machine and its clock; all others are equal in every run of one configuration."""
LOOP_FIELDS = VOLATILE_FIELDS | {
    *("tick", "kimg", "images_seen", "resolution", "alpha", "batch_size", "steps", "skipped_steps", "skipped_steps_in_tick")
}
"""Fields that the training loop writes beside the metrics of the train step."""
HELD_OUT_FIELDS = ("held_out_gap", "training_score", "held_out_score")
"""Fields that the loop writes with held-out images: mean scores of two sets of reals, and their difference."""
MEASUREMENT_PREFIX = "metric_"
"""Prefix of the fields that hold the values of `eval.metrics`."""
