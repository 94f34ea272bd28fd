"""The command line, `python launch.py [COMMAND] [FLAGS]`; without a command it trains.

Each command is a module with `FLAGS` and `run`, which is imported only when it is used, so that `--help` and mistakes are
answered at once. A user's mistake is one line of at most 300 characters on stderr and exit status 2.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from inspect import getsource
from types import ModuleType
from typing import NamedTuple

from absl import flags, logging

from pggan_jax.cli.terminal import Terminal, streams
from pggan_jax.distributed import backend
from pggan_jax.errors import UserError, one_line
from pggan_jax.flag_help import describe_flags, flag_problem
from pggan_jax.system.jax_environment import fixed_jax_settings
from pggan_jax.system.portability import in_main_thread, interrupt_main_thread
from pggan_jax.system.resource_limits import require_limits
from pggan_jax.system.xla_options import prefer_fast_convolutions

COMMANDS = {
    "train": "train a network, or continue a run (what launch.py does without a command)",
    "plan": "estimate what a run costs, per resolution: steps, parameters, arithmetic, memory, time",
    "explain": "print what the schedule does at one point of a run",
    "sample": "generate images from a checkpoint",
    "project": "search the latent whose image is nearest to a given image",
    "directions": "find directions in the latent space along which images change in one way",
    "edit": "draw images along a direction",
    "arithmetic": "draw the result of an expression over latents, such as 'mean(1,2,3) - 4 + 5'",
    "film": "write a film: a walk, a loop, the growth of an image, the training of a run",
    "explore": "serve a page on this machine to explore a model: seeds, classes, walks, directions, growth",
    "inspect": "list the checkpoints of a run",
    "evaluate": "measure the samples of a run, or any folder of images: SWD, MS-SSIM, FID and more",
    "report": "write an HTML report of a run: samples, curves, timeline, settings",
    "check": "read a collection of images and report its content and its problems",
    "prepare": "convert a collection of images to memory maps of all resolutions",
    "show": "write a grid of images of a collection, with labels",
    "extract": "write the images of a collection as PNG files",
    "compare": "compare two collections image by image",
    "export": "write a trained model as one file: for this program, for JAX alone (StableHLO), or ONNX",
    "import": "convert a trained network of another program to a model file: the authors' .pkl, pytorch_GAN_zoo's .pth",
    "convert_inception": "convert the weights of the Inception network to an .npz, which loads fastest",
    "settings": "list every setting that --set takes, with its default and limits",
    "cache": "list or remove cached files: prepared data, features, compiled programs",
}
# Their result is what they print, so they stop if nobody reads it.
_PRINTING = frozenset({"plan", "explain", "inspect", "check", "compare", "settings"})
_HELP = ("--help", "-h", "--helpfull", "--helpshort")
_EXIT_MISTAKE = 2
_EXIT_INTERRUPTED = 130
_USAGE = """usage: python launch.py [COMMAND] [FLAGS]

Progressive Growing of GANs: networks that start at 4x4 and grow while they train."""


class Parsed(NamedTuple):
    """A parsed command line: name of the command, flags, and other arguments."""

    name: str
    values: flags.FlagValues
    arguments: list[str]


def parse(argv: Sequence[str]) -> Parsed:
    """Parse the command line; for --help or a mistake, print the text and exit."""
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
    """The text of --help."""


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
        raise _Answer(f"{_documentation(module)}\n\nflags:{describe_flags(module.FLAGS)}")
    _forget_values(module.FLAGS)
    try:
        arguments = module.FLAGS([argv[0], *words])[1:]
    except flags.Error as error:
        raise UserError(f"{flag_problem(error)}; see python launch.py {name} --help") from None
    given = [word.lstrip("-").partition("=")[0] for word in words if word.startswith("-")]
    if {"from", "workdir"} <= set(given):
        raise UserError("--from and --workdir are two names of one flag; give one of them")
    wanted = getattr(module, "ARGUMENTS", ())
    takes_more = any(word.endswith("...") for word in wanted)
    if len(arguments) > len(wanted) and not takes_more:
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
    """Run the command, print its errors, and return the exit status."""
    name, values, arguments = parsed
    # Orbax logs every file, warns of choices that are made here on purpose, and repeats errors that are printed here.
    logging.set_verbosity(logging.FATAL)
    # Until the process exits: Orbax's threads outlive this function.
    sys.unraisablehook = _report_unraisable
    prefer_fast_convolutions()
    try:
        # Other commands compile nothing, and need no warnings about JAX.
        compiles = "compilation_cache" in values
        if compiles:
            require_limits()
        with fixed_jax_settings(_warn if compiles else lambda _line: None):
            _import_all(name, values)
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
            f"{error.filename or 'input or output'}: {error.strerror or error}; fix that and run the same command again"
        )
    except Exception as error:
        problem = backend.describe_backend_error(error)
        if not problem:
            raise
        return _report(problem)


def _import_all(name: str, values: flags.FlagValues) -> None:
    """Import what a command needs, and from then on let Ctrl-C raise KeyboardInterrupt.

    `train` handles its own imports and signals.
    """
    _module_of(name)
    if "from" in values:
        importlib.import_module("pggan_jax.checkpointing.open_model")
    # launch.py has set this one; a handler of a notebook, or an ignored Ctrl-C, stays.
    if in_main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _after_printing(status: int, out: Terminal) -> int:
    """Return the exit status of a command that prints, by what happened to stdout."""
    # A reader such as `head` may have closed the pipe.
    if status or not out.failure or isinstance(out.failure, BrokenPipeError):
        return status
    return _report(
        f"standard output: {out.failure.strerror}: the output is lost; redirect it to another place and run the command again"
    )


def _module_of(name: str) -> ModuleType:
    return importlib.import_module(f"pggan_jax.cli.{name}")


def _forget_values(values: flags.FlagValues) -> None:
    """Reset all flags to their defaults: in a notebook one process parses many command lines."""
    values.unparse_flags()
    for name in values:
        values[name].unparse()


def _documentation(module: ModuleType) -> str:
    """Return the text of a command's --help, from its source if Python runs with -OO."""
    text = module.__doc__
    if text is None:
        with suppress(OSError, TypeError, SyntaxError):
            text = ast.get_docstring(ast.parse(getsource(module)))
    return (text or COMMANDS[module.__name__.rpartition(".")[2]]).strip()


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Report exceptions of destructors, but not those of Orbax's threads after a failure.

    Python drops a Ctrl-C that arrives inside a destructor or a callback of its garbage collector (JAX has one): it is sent
    again, once that has ended.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        threading.Timer(0.01, interrupt_main_thread).start()
    elif str(unraisable.exc_value) != "Event loop is closed":
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
        "python launch.py COMMAND --help prints the flags of a command."
    )


def _warn(line: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        print(one_line(line), file=sys.stderr)


def _report(message: str) -> int:
    print(one_line(f"error: {message}"), file=sys.stderr)
    return _EXIT_MISTAKE
