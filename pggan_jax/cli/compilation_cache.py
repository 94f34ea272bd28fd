"""The flag --compilation_cache: compiled programs are stored for the next command."""

from __future__ import annotations

import hashlib
import platform
import sys
import tempfile
from pathlib import Path

from absl import flags

from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.distributed.backend import require_backend
from pggan_jax.errors import UserError, one_line
from pggan_jax.system.paths import CACHE_VARIABLE, cache_root, user_path

_FLAG = "compilation_cache"
_OFF = "off"
_OF_JAX = "JAX_COMPILATION_CACHE_DIR"


def define_compilation_cache_flag(values: flags.FlagValues) -> None:
    """Add --compilation_cache to a command that compiles."""
    flags.DEFINE_string(
        _FLAG,
        None,
        "folder where compiled programs are stored for the next command, or off "
        f"(default: as {_OF_JAX} says, else ~/.cache/pggan_jax/compiled, which PGGAN_JAX_CACHE moves)",
        flag_values=values,
    )


def use_compilation_cache(values: flags.FlagValues) -> None:
    """Use the folder of the flag for compiled programs; warn if it cannot be written.

    Call it before anything is compiled.

    Raises:
        UserError: the flag is empty, or JAX has no device.
    """
    require_backend()
    import jax

    wanted = flag_value(values, _FLAG)
    if wanted is None and jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # JAX adds its options at run time.
        return
    if wanted == _OFF:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if wanted is not None and not wanted.strip():
        raise UserError(f"--{_FLAG}=: is empty; name a folder, or {_OFF}")
    try:
        folder = _default_folder() if wanted is None else user_path(wanted, named=f"--{_FLAG}=").absolute()
        # Code for one processor may not run on another, and several machines may share a home folder.
        folder = folder / _machine()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _warn(f"{error.filename or folder}: {error.strerror}", is_default=wanted is None)
        return
    except UserError as error:
        _warn(str(error), is_default=wanted is None)
        return
    if wanted is None:
        _keep_within_limit(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Store all programs: on a CPU many small ones take as long as a large one.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _keep_within_limit(folder: Path) -> None:
    """Remove old programs; from now on no other process removes any."""
    from pggan_jax.data.cache import Cache

    cache = Cache(folder.parent.parent)
    cache.trim("compiled", lambda line: print(line, file=sys.stderr))
    cache.use_until_exit("compiled", folder.name)


def _warn(problem: str, *, is_default: bool) -> None:
    advice = f"--{_FLAG}=DIR {f'or {CACHE_VARIABLE}=DIR ' * is_default}uses another folder, --{_FLAG}={_OFF} uses none"
    print(one_line(f"WARNING: going on without a compilation cache: {problem}; {advice}"), file=sys.stderr)


def _default_folder() -> Path:
    return cache_root() / "compiled"


def _machine() -> str:
    """Return a name that machines with the same processor instructions share."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    # The first core; "Features" on ARM.
    features = next((sorted(line.split()) for line in lines if line.startswith(("flags", "Features"))), [])
    model = next((line for line in lines if line.startswith("model name")), platform.processor())
    text = " ".join([platform.system(), platform.machine(), model, *features])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
