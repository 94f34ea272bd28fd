"""python launch.py settings [FLAGS]

List every setting that --set can change: its value in the experiment, its meaning, and its limits.

Example: python launch.py settings --config=experiments/folder.py

Writes no files.
"""

from __future__ import annotations

from absl import flags

from pggan_jax.cli.shared_flags import define_config_flags, flag_value, read_config
from pggan_jax.config.validation import allowed_range, type_name, walk

FLAGS = flags.FlagValues()
define_config_flags(FLAGS)


def run(values: flags.FlagValues) -> None:
    """Print the list."""
    with read_config(values) as config:
        settings = list(walk(config))
    print(f"values of {flag_value(values, 'config')}; change one with --set NAME=VALUE, repeated for more\n")
    for path, value, hint, metadata in settings:
        shown = str(value).lower() if hint is bool else value
        if isinstance(value, dict):
            shown = ",".join(f"{key}:{item:g}" for key, item in value.items())
        if isinstance(value, tuple):
            shown = ",".join(map(str, value))
        limits = allowed_range(metadata)
        if "choices" in metadata:
            limits = "one of " + ", ".join(choice for choice in metadata["choices"] if choice)
        kind = "; ".join(filter(None, [type_name(hint), limits]))
        print(f"{path} = {shown}\n    {metadata['help']} ({kind})")
