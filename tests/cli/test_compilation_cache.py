"""--compilation_cache: on by default, in the user's cache folder; one warning where it cannot be written."""

from __future__ import annotations

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags

from pggan_jax.cli.compilation_cache import define_compilation_cache_flag, use_compilation_cache
from pggan_jax.data.cache import Cache
from pggan_jax.errors import UserError
from tests.helpers.compiling import jax_settings


@pytest.fixture(autouse=True)
def untouched(monkeypatch, tmp_path):
    monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
    names = ("persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes", "enable_compilation_cache")
    settings = {f"jax_{name}": jax.config.values[f"jax_{name}"] for name in names}
    with jax_settings(jax_compilation_cache_dir=None, **settings):
        yield


def use(*words):
    values = flags.FlagValues()
    define_compilation_cache_flag(values)
    values(["program", *words])
    use_compilation_cache(values)
    return jax.config.jax_compilation_cache_dir


def compile_something(factor):
    jax.jit(lambda x: x * factor)(np.ones(3, np.float32))


@pytest.mark.parametrize("words", [(), ("--compilation_cache=elsewhere",)])
def test_small_programs_are_kept_in_a_folder_per_kind_of_machine(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    folder = Path(use(*words))
    assert folder.parent == tmp_path / ("elsewhere" if words else "cache/compiled")
    compile_something(31.5 + len(words))
    assert list(folder.iterdir())


def test_the_default_folder_is_kept_within_its_limit(tmp_path, capsys):
    machine = Path(use()).name
    cache = Cache(tmp_path / "other")
    cache.set_limits({"compiled": 100})
    for name in (machine, "0123456789ab"):
        (cache.root / "compiled" / name).mkdir(parents=True)
        (cache.root / "compiled" / name / "jit_old-cache").write_bytes(bytes(1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGGAN_JAX_CACHE", str(cache.root))
        with jax_settings(jax_compilation_cache_dir=None):
            folder = Path(use())
            assert cache.entries("compiled") == []
            assert "removed 2 kB of compiled, least recently used (2 entries)" in capsys.readouterr().err
            (folder / "jit_new-cache").write_bytes(bytes(1000))
            cache.trim("compiled", print)
            assert (folder / "jit_new-cache").exists(), "in use from now on"


def test_off(tmp_path):
    assert use("--compilation_cache=off") is None
    compile_something(33.5)
    assert not (tmp_path / "cache").exists()


def test_off_is_off_where_jax_s_own_variable_names_a_folder(tmp_path):
    """The same program is kept without the flag, so that it would be."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    for words, kept in (("--compilation_cache=off",), False), ((), True):
        with jax_settings(jax_enable_compilation_cache=True):
            use(*words)
            compile_something(37.5)
            assert any(tmp_path.glob("own/*")) == kept
            jax.clear_caches()


def test_jax_s_own_is_left_alone(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    assert use() == str(tmp_path / "own")
    assert use(f"--compilation_cache={tmp_path}/given").startswith(f"{tmp_path}/given/")


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert use(f"--compilation_cache={tmp_path}/file") is None
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert complaint.startswith(f"WARNING: going on without a compilation cache: {tmp_path}/file/")
    assert complaint.endswith("; --compilation_cache=DIR uses another folder, --compilation_cache=off uses none\n")
    compile_something(35.5)


def test_so_is_a_home_that_is_not_there(capsys):
    assert use("--compilation_cache=~nobody_of_this_name/cache") is None
    complaint = capsys.readouterr().err
    assert complaint.startswith(
        "WARNING: going on without a compilation cache: --compilation_cache=~nobody_of_this_name/cache: "
    )
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("place", ["{tmp}/file/x", "~nobody_of_this_name/x"])
def test_the_variable_that_moves_the_default_is_named(tmp_path, monkeypatch, capsys, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PGGAN_JAX_CACHE", place.replace("{tmp}", str(tmp_path)))
    assert use() is None
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert "--compilation_cache=DIR or PGGAN_JAX_CACHE=DIR uses another folder" in complaint


def test_an_empty_name_is_refused():
    with pytest.raises(UserError, match="--compilation_cache=: is empty"):
        use("--compilation_cache=")


@pytest.mark.parametrize("command", ["train", "plan", "sample", "evaluate"])
def test_every_command_that_compiles_has_it(command):
    assert "compilation_cache" in importlib.import_module(f"pggan_jax.cli.{command}").FLAGS
