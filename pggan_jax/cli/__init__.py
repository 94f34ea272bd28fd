"""The door: absl flags and commands. Everything a user types arrives here, and every user's mistake leaves as one line.

`python launch.py [COMMAND] [FLAGS]`; without a command it trains. Each command has a module with `FLAGS` and `run`, imported
only when it is asked for, so that `--help` and mistakes are answered at once.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags, logging

from pggan_jax.errors import UserError
from pggan_jax.xla_options import prefer_fast_convolutions

COMMANDS = {
    "train": "train a network, or continue a run (what launch.py does without a command)",
    "plan": "what a run will cost, per resolution: steps, parameters, arithmetic, memory, time",
    "explain": "what the schedule does at one point of a run",
    "sample": "make pictures with a trained generator",
    "inspect": "list the checkpoints of a run",
    "evaluate": "how good a run's samples, or any folder of images, are: SWD, MS-SSIM, FID and more",
    "report": "one page about a run: samples, curves, timeline, settings",
    "check": "read a collection of images once and tell what is in it and what is wrong with it",
    "prepare": "turn a collection of images into memory maps of all resolutions",
    "show": "one picture of a collection, with labels",
    "extract": "write the images of a collection as PNG files",
    "compare": "compare two collections position by position",
    "convert_inception": "turn a file with the weights of the Inception network into an .npz, which loads fastest",
    "settings": "list every setting that --set takes, with its default and limits",
}
_EXIT_INTERRUPTED = 130
_USAGE = """usage: python launch.py [COMMAND] [FLAGS]

Progressive Growing of GANs: networks that start at 4x4 and grow while they train."""


class Parsed(NamedTuple):
    """A command line: the command's name, its flags, and what it works on."""

    name: str
    values: flags.FlagValues
    arguments: list[str]


def parse(argv: Sequence[str]) -> Parsed:
    """Understand the command line; print help or a one-line error and exit otherwise."""
    logging.use_absl_handler()
    flags.FLAGS.mark_as_parsed()
    words = list(argv[1:])
    name = "train"
    if words and not words[0].startswith("-"):
        name = words.pop(0)
    elif words and words[0] in ("--help", "-h", "--helpfull", "--helpshort"):
        _print_and_exit(_overview())
    if name == "help":
        _print_and_exit(_overview())
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"commands: {', '.join(COMMANDS)}"
        _fail(f"{name!r} is not a command; {hint}")
    try:
        module = importlib.import_module(f"pggan_jax.cli.{name}")
        if any(word in ("--help", "-h", "--helpfull", "--helpshort") for word in words):
            _print_and_exit(f"{module.__doc__.strip()}\n\nflags:{_describe(module.FLAGS)}")
        arguments = module.FLAGS([argv[0], *words])[1:]
    except flags.Error as error:
        _fail(f"{error}; see python launch.py {name} --help")
    except UserError as error:
        _fail(str(error))
    wanted = getattr(module, "ARGUMENTS", ())
    if len(arguments) > len(wanted):
        surplus = arguments[len(wanted)]
        _fail(f"{surplus!r} is not a flag of {name}; flags start with --; see python launch.py {name} --help")
    if len(arguments) < len(wanted):
        _fail(f"{name} needs {wanted[len(arguments)]}: python launch.py {name} {' '.join(wanted)} [FLAGS]; see its --help")
    return Parsed(name, module.FLAGS, arguments)


def main(parsed: Parsed) -> int:
    """Run a command; the result is the exit status."""
    name, values, arguments = parsed
    # Orbax reports every file it writes, warns of choices that are made here on purpose, and repeats errors that are told here.
    logging.set_verbosity(logging.FATAL)
    # Names of files and classes may hold letters that the terminal's encoding lacks.
    sys.stdout.reconfigure(errors="backslashreplace")
    # To the end of the process: those threads outlive this function.
    sys.unraisablehook = _tell_unraisable
    prefer_fast_convolutions()
    try:
        return importlib.import_module(f"pggan_jax.cli.{name}").run(values, *arguments) or 0
    except UserError as error:
        return _report(str(error))
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough.
        sys.stderr.close()
        return 0
    except OSError as error:
        return _report(
            f"{error.filename or 'input or output'}: {error.strerror or error}; mend that and run the same command again"
        )


def _tell_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """All but what Orbax's threads still have to say when a save or a restore has failed; that it has failed is told here."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    return (
        f"{_USAGE}\n\ncommands:\n{commands}\n\n"
        "examples:\n"
        "  python launch.py                       grow a network on handwritten digits, 4x4 to 32x32, in minutes\n"
        "  python launch.py --config=experiments/folder.py --set data.source=folder:~/photos --workdir=runs/mine\n"
        "  python launch.py check folder:~/photos\n"
        "  python launch.py sample --workdir=runs/digits --seeds=0-35 --out=samples\n\n"
        "python launch.py COMMAND --help tells the flags of a command."
    )


def _describe(values: flags.FlagValues) -> str:
    lines = []
    for name in values:
        flag = values[name]
        if name in ("help", "helpshort", "helpfull", "helpxml"):
            continue
        default = "" if flag.default in (None, [], False) else f" (default: {flag.default_as_str.strip(chr(39))})"
        lines.append(f"\n  --{name}{'' if flag.boolean else '=...'}\n      {flag.help}{default}")
    return "".join(lines)


def _print_and_exit(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # As in `main`.
        sys.stderr.close()
    sys.exit(0)


def _fail(message: str) -> None:
    sys.exit(_report(message))


def _report(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
