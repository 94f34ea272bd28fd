"""The door: absl flags and commands. Everything a user types arrives here, and every user's mistake leaves as one line.

`python launch.py [COMMAND] [FLAGS]`; without a command it trains. Each command has a module with `FLAGS` and `run`, imported
only when it is asked for, so that `--help` and mistakes are answered at once.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from inspect import getsource
from types import ModuleType
from typing import NamedTuple

from absl import flags, logging

from pggan_jax.cli.terminal import Terminal, streams
from pggan_jax.distributed import backend
from pggan_jax.errors import UserError, one_line
from pggan_jax.system.jax_environment import fixed_jax_settings
from pggan_jax.system.resource_limits import require_limits
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
    "cache": "list or remove what is kept for the next time: prepared data, features, compiled programs",
}
# Their result is what they print: without a reader they have nothing to do.
_PRINTING = frozenset({"plan", "explain", "inspect", "check", "compare", "settings"})
_HELP = ("--help", "-h", "--helpfull", "--helpshort")
_EXIT_MISTAKE = 2
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
    with streams() as out:
        try:
            return _parse(argv)
        except _Answer as answer:
            print(answer)
            out.flush()
        except UserError as error:
            sys.exit(_report(str(error)))
        sys.exit(_after_printing(0, out))


class _Answer(Exception):
    """What was asked for is a text."""


def _parse(argv: Sequence[str]) -> Parsed:
    """Raises: _Answer for help; UserError."""
    logging.use_absl_handler()
    flags.FLAGS.mark_as_parsed()
    words = list(argv[1:])
    name = "train"
    if words and not words[0].startswith("-"):
        name = words.pop(0)
    if name == "help" or (len(argv) > 1 and argv[1] in _HELP):
        raise _Answer(_overview())
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"commands: {', '.join(COMMANDS)}"
        raise UserError(f"{name!r} is not a command; {hint}")
    module = _module_of(name)
    if any(word in _HELP for word in words):
        raise _Answer(f"{_documentation(module)}\n\nflags:{_describe(module.FLAGS)}")
    _forget_values(module.FLAGS)
    try:
        arguments = module.FLAGS([argv[0], *words])[1:]
    except flags.Error as error:
        raise UserError(f"{error}; see python launch.py {name} --help") from None
    wanted = getattr(module, "ARGUMENTS", ())
    if len(arguments) > len(wanted):
        surplus = arguments[len(wanted)]
        raise UserError(f"{surplus!r} is not a flag of {name}; flags start with --; see python launch.py {name} --help")
    if len(arguments) < len(wanted):
        example = f"python launch.py {name} {' '.join(wanted)} [FLAGS]"
        raise UserError(f"{name} needs {wanted[len(arguments)]}: {example}; see its --help")
    return Parsed(name, module.FLAGS, arguments)


def main(parsed: Parsed) -> int:
    """Run a command; the result is the exit status."""
    with streams(raises=parsed.name in _PRINTING) as out:
        status = _run(parsed, out)
        return status if parsed.name == "train" else _after_printing(status, out)


def _run(parsed: Parsed, out: Terminal) -> int:
    """The command's exit status, everything told."""
    name, values, arguments = parsed
    # Orbax reports every file it writes, warns of choices that are made here on purpose, and repeats errors that are told here.
    logging.set_verbosity(logging.FATAL)
    # To the end of the process: those threads outlive this function.
    sys.unraisablehook = _report_unraisable
    prefer_fast_convolutions()
    try:
        # A command that compiles nothing has nothing to say of JAX.
        compiles = "compilation_cache" in values
        if compiles:
            require_limits()
        with fixed_jax_settings(_warn if compiles else lambda _line: None):
            status = _module_of(name).run(values, *arguments) or 0
        out.flush()
        return status
    except UserError as error:
        return _report(str(error))
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except OSError as error:
        if error is out.failure:
            return 0
        return _report(
            f"{error.filename or 'input or output'}: {error.strerror or error}; mend that and run the same command again"
        )
    except Exception as error:
        problem = backend.problem(error)
        if not problem:
            raise
        return _report(problem)


def _after_printing(status: int, out: Terminal) -> int:
    """The exit status of a command that has something to say, by what has become of it."""
    # The reader of our output, such as `head`, may have seen enough.
    if status or not out.failure or isinstance(out.failure, BrokenPipeError):
        return status
    return _report(f"standard output: {out.failure.strerror}: what was printed is lost; send it elsewhere and run this again")


def _module_of(name: str) -> ModuleType:
    return importlib.import_module(f"pggan_jax.cli.{name}")


def _forget_values(values: flags.FlagValues) -> None:
    """In a notebook one process parses many command lines, each of which begins with the defaults."""
    values.unparse_flags()
    for name in values:
        values[name].unparse()


def _documentation(module: ModuleType) -> str:
    """The text of a command's --help; from the source where Python was told to drop it (-OO)."""
    text = module.__doc__
    if text is None:
        with suppress(OSError, TypeError, SyntaxError):
            text = ast.get_docstring(ast.parse(getsource(module)))
    return (text or COMMANDS[module.__name__.rpartition(".")[2]]).strip()


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
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
        default = "" if flag.default in (None, [], False) else f" (default: {(flag.default_as_str or '').strip(chr(39))})"
        lines.append(f"\n  --{name}{'' if flag.boolean else '=...'}\n      {flag.help}{default}")
    return "".join(lines)


def _warn(line: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        print(one_line(line), file=sys.stderr)


def _report(message: str) -> int:
    print(one_line(f"error: {message}"), file=sys.stderr)
    return _EXIT_MISTAKE
