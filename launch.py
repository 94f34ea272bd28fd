"""Train, inspect and use progressive GANs: `python launch.py --help`."""

import signal

# Until everything is imported, Ctrl-C ends the process at once: an exception inside an import may crash it.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from absl import app

from pggan_jax import cli

if __name__ == "__main__":
    app.run(cli.main, flags_parser=cli.parse)
