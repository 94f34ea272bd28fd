"""Train, inspect and use progressive GANs: `python launch.py --help`."""

from absl import app

from pggan_jax import cli

if __name__ == "__main__":
    app.run(cli.main, flags_parser=cli.parse)
