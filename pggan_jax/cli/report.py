"""python launch.py report --workdir=runs/digits

Write an HTML report of a run: samples of every resolution, curves of losses, scores and metrics over kimg, a timeline, events,
and settings. The report is one file, which any browser opens without a server or a network.

Example: python launch.py report --workdir=runs/digits --out=digits.html
"""

from __future__ import annotations

from absl import flags

from pggan_jax.cli.shared_flags import DEFAULT_WORKDIR, existing_run, flag_value
from pggan_jax.errors import UserError
from pggan_jax.system.paths import user_path

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", DEFAULT_WORKDIR, "folder of the run", flag_values=FLAGS)
flags.DEFINE_string("out", None, "HTML file to write (default: WORKDIR/report.html)", flag_values=FLAGS)


def run(values: flags.FlagValues) -> None:
    """Write the report and print where."""
    workdir = existing_run(flag_value(values, "workdir"))
    from pggan_jax.reporting.html import render
    from pggan_jax.reporting.run_record import gather
    from pggan_jax.run_logs.workdir import Workdir
    from pggan_jax.system.files import write_atomically

    page = render(gather(workdir, Workdir(workdir).load_config()))
    wanted = flag_value(values, "out")
    out = workdir / "report.html" if wanted is None else user_path(wanted, named="--out=", example="name a file")
    if out.is_dir():
        raise UserError(f"--out={wanted}: is a folder; name a file in it, such as report.html")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, page.encode())
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another file by --out") from None
    print(f"{len(page) / 1e6:.1f} MB -> {out}")
