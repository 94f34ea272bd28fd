"""What happens at the end of each tick: one class per job, called in the order of `Hooks`.

To add a job, write a class with `start`, `__call__` and `finish`, add it to `Hooks`, and make it in `run_setup.open_run`.
"""

from __future__ import annotations
