"""Every flag of every command changes what it should. A flag that is not in the table fails.

Commands run in this process. Where they would train, compile or measure, what they pass on is looked at instead.
"""

from __future__ import annotations

import base64
import importlib
import json
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
from PIL import Image, ImageSequence

from pggan_jax import cli
from pggan_jax.checkpointing.model_file import read_model_file
from pggan_jax.checkpointing.open_model import load
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config.io import settings_of
from pggan_jax.data import open_loader as loader_module
from pggan_jax.data.cache import Cache
from pggan_jax.data.checking import collection_check as check_module
from pggan_jax.data.preparation import prepare as prepare_module
from pggan_jax.data.sources import open_source
from pggan_jax.distributed import processes
from pggan_jax.evaluation import evaluator, image_sets
from pggan_jax.evaluation.inception import features, weights
from pggan_jax.evaluation.metric_result import Evaluation, MetricResult
from pggan_jax.generation import projection
from pggan_jax.generation.editing.direction_files import Directions, read_directions, save_directions
from pggan_jax.generation.editing.directions import first_kernel, normalized, sefa
from pggan_jax.generation.sampling import latents_for_seeds, one_hot
from pggan_jax.generation.web.program import generator_program
from pggan_jax.loop import periodic_eval, run_setup, step_cost
from pggan_jax.loop import train as train_module
from pggan_jax.system.own_output import read_mark
from tests.helpers.command_line import SMOKE
from tests.helpers.compiling import jax_settings
from tests.helpers.foreign_files import write_small_official
from tests.helpers.image_samples import noise
from tests.helpers.runs import (
    copy_of,
    finished_labelled_run,
    finished_run,
    finished_sound_run,
    small_config,
    small_loader,
)
from tests.helpers.sheets import shows

pytestmark = pytest.mark.usefixtures("quick_compilation")

ALPHA = (1008 - 16 - 480) / 960  # of the run's checkpoint in mid-fade
HELP = {"help", "helpshort", "helpfull", "helpxml"}


@dataclass
class Seen:
    """A command's exit status and what it printed; what it passed on, by name; its places."""

    status: int
    out: str
    err: str
    passed: SimpleNamespace
    places: SimpleNamespace


@dataclass
class Case:
    """Two command lines that differ in one flag, and what is different then.

    Attributes:
        words: what both have, with places in braces.
        values: the two forms of the flag; empty leaves it out.
        look: what to look at.
        expected: what is seen with each.
    """

    words: str
    values: tuple[str, str]
    look: Callable[[Seen], Any]
    expected: tuple[Any, Any]


# What the stubs note


def folder_of_pictures(path: Path) -> Path:
    """Four of two classes: 12x16, 16x16, grey 16x16, 16x20 (height x width)."""
    images = {"a/0": noise(12, 16), "a/1": noise(16, 16, seed=1), "b/2": noise(16, 16, 1, 2), "b/3": noise(16, 20, seed=3)}
    for name, pixels in images.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(path / f"{name}.png")
    return path


@pytest.fixture
def places(tmp_path, tmp_path_factory):
    """Folders that words in braces mean."""
    base = tmp_path_factory.getbasetemp()
    runs = {"run": finished_run(base), "labelled": finished_labelled_run(base), "sound": finished_sound_run(base)}
    return SimpleNamespace(tmp=tmp_path / "places", **runs)


def furnish(places: SimpleNamespace, words: str) -> None:
    """An empty folder `tmp`, but for what the words name."""
    shutil.rmtree(places.tmp, ignore_errors=True)
    places.tmp.mkdir()
    places.pictures = folder_of_pictures(places.tmp / "pictures")
    for name, count in (("square", 1), ("other", 2)):
        for number in range(count):
            (places.tmp / name).mkdir(exist_ok=True)
            Image.fromarray(noise(16, 16, seed=number)).save(places.tmp / name / f"{number}.png")
    for name in ("there.npz", "there.safetensors"):
        (places.tmp / name).write_bytes(b"")
    if "network.pkl" in words:
        write_small_official(places.tmp / "network.pkl")
    (places.tmp / "low.txt").write_text("0 0.1 50 100\n")
    (places.tmp / "deep").mkdir()
    Image.fromarray(16 * noise(16, 16, 1)[..., 0].astype(np.uint16)).save(places.tmp / "deep" / "12 bits.png")
    compiled = places.tmp / "cache" / "compiled" / "0123456789ab"
    compiled.mkdir(parents=True)
    (compiled / "jit_step-abc-cache").write_bytes(b"")
    if "{tmp}/sefa.npz" in words or words.startswith(EXPLORE):
        fields = {"names": ("a", "b"), "method": "sefa", "source": {}, "image_change": np.ones(2), "values": np.ones(2)}
        save_directions(places.tmp / "sefa.npz", Directions(np.eye(2, 8), **fields))
    if "{tmp}/copy" in words:
        copy_of(places.run, places.tmp)


@pytest.fixture
def door(launch, places, monkeypatch):
    """Run a command line and see what comes of it."""
    passed = SimpleNamespace()
    note = lambda **more: vars(passed).update(more)  # noqa: E731

    @contextmanager
    def open_run(workdir, config, *, allow_config_change):
        note(workdir=workdir, config=config, allow_config_change=allow_config_change)
        yield "an open run"

    def train(opened, loader, *, allow_data_change, should_stop):
        assert opened == "an open run"
        note(allow_data_change=allow_data_change)
        return True

    def measure_step(config, stage, *, image_spec, seconds):
        note(config=config, seconds=seconds)
        return step_cost.StepCost(1, 1, 1, 1e9, 2**20, 1.0, 100.0 if seconds else None)

    class Evaluator:
        max_fakes = 4

        def __init__(self, names, context, **options):
            note(names=names, context=context, evaluator=options)

        def classes(self):
            return np.zeros(1, np.int32)

        def __call__(self, fakes, model=None):
            note(images=fakes.read(0, min(4, fakes.count)), resolution=fakes.shape.resolution)
            return [Evaluation("swd", "swd", "swd", MetricResult({"swd": 1.0}), None, 4, 4, 0)]

    def spy(module, name, *kept, **changed):
        """Note some keyword arguments of a function, and change others."""
        original = getattr(module, name)

        def noting(*arguments, **options):
            note(**{f"{name}_{one}": options[one] for one in kept if one in options})
            return original(*arguments, **{**options, **changed})

        monkeypatch.setattr(module, name, noting)

    def run(words):
        vars(passed).clear()
        if words[0] == "cache":
            monkeypatch.setenv("PGGAN_JAX_CACHE", str(places.tmp / "cache"))
        with mock.patch.object(loader_module, "open_loader", (lambda *_, **__: None) if words[0] == "train" else open_loader):
            status, out, err = launch(*(word.format(**vars(places)) for word in words))
        return Seen(status, out, err, passed, places)

    importlib.import_module("pggan_jax.cli.train")
    open_loader = loader_module.open_loader
    monkeypatch.setattr("pggan_jax.cli.train.StopRequest", lambda: lambda: False)
    monkeypatch.setattr(run_setup, "open_run", open_run)
    monkeypatch.setattr(train_module, "train", train)
    monkeypatch.setattr(processes, "initialize_hosts", lambda *hosts, cluster: note(hosts=(*hosts, cluster)))
    monkeypatch.setattr(step_cost, "measure_step", measure_step)
    monkeypatch.setattr(evaluator, "Evaluator", Evaluator)
    monkeypatch.setattr(features, "find_weights", lambda path, **_: note(weights=path) or "weights")
    monkeypatch.setattr(features, "FeatureExtractor", lambda weights, mode: note(resize=mode))
    monkeypatch.setattr(weights, "write_npz", lambda *_: SimpleNamespace(warning="", source="-", variables={}))
    monkeypatch.setattr(features, "feature_mean", lambda _: 0.0)
    spy(check_module, "check", "workers", workers=0)
    spy(prepare_module, "prepare", "workers", workers=0)
    prepare = prepare_module.prepare
    monkeypatch.setattr(
        prepare_module,
        "prepare",
        lambda source, *more, **options: (
            note(allow_few=getattr(source, "allow_few", None)) or prepare(source, *more, **options)
        ),
    )
    spy(image_sets, "generated_images", "seed", "alpha")
    made_by = image_sets.generated_images
    monkeypatch.setattr(
        image_sets, "generated_images", lambda sampler, params, **more: note(params=params) or made_by(sampler, params, **more)
    )
    spy(open_source, "open_source", "resolution", "sound")

    def project(model, images, settings, *, number):
        note(model=model, images=images, settings=settings, number=number)
        latent, nearest = model.latents([5])[0], projection.NearestSample(0, number or 0, 0.1)
        yield from [projection.Projection(latent, number or 0, model.sample([5])[0], 0.1, 1.0, nearest, 2.0)] * len(images)

    monkeypatch.setattr(projection, "project", project)
    explore_page = importlib.import_module("pggan_jax.cli.explore_page")
    monkeypatch.setattr(explore_page, "require_gradio", lambda: None)
    monkeypatch.setattr(explore_page, "serve", lambda make, **options: note(explorer=make(), **options))
    return run


# What is looked at


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def pictures(seen: Seen, pattern: str) -> dict[str, np.ndarray]:
    """Of the folder `out`, by name, wherever in it they lie."""
    return {path.name: picture(path) for path in sorted((seen.places.tmp / "out").rglob(pattern))}


def grid(seen: Seen) -> np.ndarray:
    """In the folder `out`, or beside it."""
    return picture(next(iter([*(seen.places.tmp / "out").rglob("*grid*.png"), seen.places.tmp / "out.png"])))


def sounds(seen: Seen) -> list[str]:
    """Names of the WAV files in the folder `out`."""
    return sorted(path.name for path in (seen.places.tmp / "out").rglob("*.wav"))


def first_sound(seen: Seen) -> tuple[str, int]:
    """Name and bytes of one WAV file in the folder `out`."""
    path = seen.places.tmp / "out" / sounds(seen)[-1]
    return path.name, path.stat().st_size


def printed(*words: str) -> Callable[[Seen], list[bool]]:
    """Which of some words stand in the output."""
    return lambda seen: [word in seen.out for word in words]


def setting(path: str) -> Callable[[Seen], Any]:
    return lambda seen: dict(settings_of(seen.passed.config))[path]


def workdir_and_permission(seen: Seen) -> tuple[str, bool]:
    return seen.passed.workdir.name, seen.passed.allow_config_change


def host(number: int) -> Callable[[Seen], Any]:
    return lambda seen: seen.passed.hosts[number]


def cache(seen: Seen) -> tuple[bool, str]:
    """Whether compiled programs are kept, and in which folder."""
    folder = jax.config.jax_compilation_cache_dir
    return jax.config.jax_enable_compilation_cache, Path(folder).parent.name if folder else ""


def drawn_by(seen: Seen) -> list[tuple[str, int]]:
    """Which weights of the run, for which class, make the only picture."""
    ((_, image),) = pictures(seen, "seed*.png").items()
    trained = load_trained_model(seen.places.run if len(image) == 8 else seen.places.labelled)
    latents, size, sampler = (
        latents_for_seeds([3], trained.networks.latent_size),
        trained.metadata.label_size,
        trained.sampler(),
    )
    found = []
    for label in (1, 2):
        for network in ("generator", "generator_ema"):
            made = sampler(getattr(trained.state, network), latents, one_hot([label], size), 1.0)[0, ..., 0]
            if np.abs(made - image.astype(int)).max() <= 1:
                found.append((network, label))
    return found


def alphas(seen: Seen) -> tuple[str, list[float]]:
    """Of which checkpoint the only picture is said to be, and with which alpha that makes it."""
    ((_, image),) = pictures(seen, "seed*.png").items()
    kimg = seen.out.partition("kimg ")[2].split()[0]
    trained = load_trained_model(seen.places.run, kimg)
    latents, sampler = latents_for_seeds([3], trained.networks.latent_size), trained.sampler()
    made = {alpha: sampler(trained.state.generator_ema, latents, np.zeros((1, 0)), alpha)[0, ..., 0] for alpha in (1.0, ALPHA)}
    return kimg, [alpha for alpha, pixels in made.items() if np.abs(pixels - image.astype(int)).max() <= 1]


def directions(seen: Seen) -> Directions:
    """What the command `directions` has written."""
    return read_directions(seen.places.tmp / "d.npz", named="-")


def source_of(name: str) -> Callable[[Seen], Any]:
    """An entry of the record in a file of directions."""
    return lambda seen: directions(seen).source.get(name)


def weights_of_directions(seen: Seen) -> list[str]:
    """Which weights have the directions that were written."""
    kernels = {network: first_kernel(load(seen.places.run, network=network)) for network in ("ema", "raw")}
    return [
        name
        for name, kernel in kernels.items()
        if np.array_equal(sefa(kernel, 8, count=2).directions, directions(seen).directions)
    ]


def drawn_in_sheet(seen: Seen) -> list[tuple[str, ...]]:
    """Which checkpoint and network, or network and class, drew seed 3 in e.png."""
    sheet, found = picture(seen.places.tmp / "e.png"), []
    for network in ("ema", "raw"):
        for kimg in ("1.92", "1.008"):
            image = load(seen.places.run, checkpoint=kimg, network=network).sample([3])[0]
            found += [(kimg, network)] * shows(sheet, image, tolerance=1)
    return found


def class_in_sheet(seen: Seen) -> list[int]:
    """Of which class the image of seed 3 in e.png is."""
    sheet, model = picture(seen.places.tmp / "e.png"), load(seen.places.labelled)
    # Arithmetic normalises the latent.
    latents = np.concatenate([model.latents([3]), normalized(model.latents([3]))])
    return [number for number in (1, 2) if any(shows(sheet, one, tolerance=1) for one in model.synthesize(latents, number))]


def of_run(seen: Seen) -> bool:
    """Whether a command says that it used the run without labels."""
    return f" {seen.places.run} " in seen.out


def film(seen: Seen, name: str = "f.png") -> list[np.ndarray]:
    """Frames of the film f.png in red, green, blue."""
    with Image.open(seen.places.tmp / name) as frames:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(frames)]


def length_and_rate(seen: Seen) -> tuple[float, int]:
    """Seconds of the film, and milliseconds of its shortest frame."""
    with Image.open(seen.places.tmp / "f.png") as frames:
        times = [frame.info["duration"] for frame in ImageSequence.Iterator(frames)]
    return round(sum(times) / 1000, 3), round(min(times))


def film_begins_with(seen: Seen) -> list[tuple[str, int, int]]:
    """Network, seed and class of the image that is the first frame of the film."""
    frame, found = film(seen)[0][..., 0], []
    for network in ("ema", "raw"):
        model = load(seen.places.run if len(frame) == 8 else seen.places.labelled, network=network)
        for seed, number in product((1, 3), (1, 2) if model.label_size else (0,)):
            if np.array_equal(model.sample([seed], number)[0, ..., 0], frame):
                found.append((network, seed, number))
    return found


def prepared(seen: Seen) -> np.ndarray:
    """The largest level of `out`."""
    return np.load(max((seen.places.tmp / "out").glob("r*.npy"), key=lambda path: int(path.stem[1:])))


def wave_bytes(seen: Seen, folder: str = "out") -> int:
    """Bytes of the samples in the only WAV file of a folder."""
    (path,) = (seen.places.tmp / folder).rglob("*.wav")
    content = path.read_bytes()
    return int.from_bytes(content[content.index(b"data") + 4 :][:4], "little")


def labels(seen: Seen) -> list[int]:
    return np.load(seen.places.tmp / "out" / "labels.npy").tolist()


def report(*path: str) -> Callable[[Seen], Any]:
    """An entry of what `check --json` has printed."""

    def look(seen: Seen) -> Any:
        entry = json.loads(seen.out)
        for name in path:
            entry = entry[name]
        return entry

    return look


def has_only_pixels_of_its_file(pixels: np.ndarray, seen: Seen) -> bool:
    known = {tuple(pixel) for pixel in picture(seen.places.pictures / "a/1.png").reshape(-1, 3).tolist()}
    return all(tuple(pixel) in known for pixel in pixels.reshape(-1, 3).tolist())


def shuffled(values: list[Any]) -> list[Any]:
    """By seed 6, as the authors shuffle."""
    order = np.arange(len(values))
    np.random.RandomState(6).shuffle(order)
    return [values[number] for number in order]


TRAIN, PLAN = f"train {SMOKE} --workdir={{tmp}}/w", f"plan {SMOKE}"
SAMPLE = "sample --workdir={run} --seeds=3 --out={tmp}/out"
OF_CLASSES = "sample --workdir={labelled} --seeds=3 --out={tmp}/out"
SOUND = "sample --from={sound} --seeds=3 --out={tmp}/out"
MELODY = "sample --from={sound} --melody=scale --out={tmp}/out"


def network_of_page(seen: Seen) -> str:
    """Whose weights an exported page has."""
    page = (seen.places.tmp / "a.html").read_text()
    weights = base64.b64decode(re.search(r'"weights": "([^"]*)"', page)[1])
    of_networks = {name: generator_program(load(seen.places.run, network=name)).weights for name in ("ema", "raw")}
    return next(name for name, expected in of_networks.items() if expected.tobytes() == weights)


EVALUATE = "evaluate --workdir={run} --out={tmp}/out"
OF_IMAGES = "evaluate --images={tmp}/other --data=synthetic:40"
EXPLORE = "explore --from={run}"
EXPORT = "export --from={run} --out={tmp}/a.safetensors"
PREPARE = "prepare folder:{pictures} --out={tmp}/out --resolution=8"
DEEP = "prepare folder:{tmp}/deep --out={tmp}/out --resolution=16"
CHECK = "check folder:{pictures} --json --resolution=8"
FILM = "film --from={run} --seconds=0.4 --fps=10 --zoom=1 --out={tmp}/f.png"
SHOW = "show folder:{pictures} --out={tmp}/out/grid.png --resolution=8"
PROJECT = "project {tmp}/square/0.png --fit --from={run} --out={tmp}/out"
DIRECTIONS = "directions --from={run} --seeds=0 --out={tmp}/d.npz"
TOWARDS_CLASSES = f"{DIRECTIONS} --method=classes --num_samples=200"
EDIT = "edit --direction={tmp}/sefa.npz:0 --seeds=3 --strength=0 --out={tmp}/e.png"
ARITHMETIC = "arithmetic 3 --out={tmp}/e.png"
NO_CACHE = ("--compilation_cache=off", "--compilation_cache={tmp}/kept")
CACHES = ((False, ""), (True, "kept"))
CASES = {
    ("train", "config"): Case("train --workdir={tmp}/w", ("", SMOKE), setting("data.resolution"), (32, 16)),
    ("train", "set"): Case(TRAIN, ("", "--set=run.seed=5"), setting("run.seed"), (1000, 5)),
    ("train", "workdir"): Case(
        f"train {SMOKE}", ("", "--workdir={tmp}/w"), workdir_and_permission, (("smoke", False), ("w", False))
    ),
    ("train", "init_from"): Case(TRAIN, ("", "--init_from=runs/a@3"), setting("run.init_from"), ("", "runs/a@3")),
    ("train", "allow_config_change"): Case(
        TRAIN, ("", "--allow_config_change"), workdir_and_permission, (("w", False), ("w", True))
    ),
    ("train", "allow_data_change"): Case(
        TRAIN, ("", "--allow_data_change"), lambda seen: seen.passed.allow_data_change, (False, True)
    ),
    ("train", "compilation_cache"): Case(TRAIN, NO_CACHE, cache, CACHES),
    ("train", "coordinator"): Case(TRAIN, ("", "--coordinator=h:1"), host(0), (None, "h:1")),
    ("train", "num_processes"): Case(TRAIN, ("", "--num_processes=3"), host(1), (None, 3)),
    ("train", "process_id"): Case(TRAIN, ("", "--process_id=2"), host(2), (None, 2)),
    ("train", "cluster"): Case(TRAIN, ("", "--cluster"), host(3), (False, True)),
    ("plan", "config"): Case("plan", ("", SMOKE), setting("data.resolution"), (32, 16)),
    ("plan", "set"): Case(PLAN, ("", "--set=run.seed=5"), setting("run.seed"), (1000, 5)),
    ("plan", "measure"): Case(PLAN, ("", "--nomeasure"), lambda seen: seen.passed.seconds, (2.0, 0.0)),
    ("plan", "seconds"): Case(PLAN, ("", "--seconds=0.5"), lambda seen: seen.passed.seconds, (2.0, 0.5)),
    ("plan", "compilation_cache"): Case(PLAN, NO_CACHE, cache, CACHES),
    ("explain", "config"): Case("explain --kimg=0", ("", SMOKE), printed("of 5,056,"), ([False], [True])),
    ("explain", "set"): Case(
        f"explain {SMOKE} --kimg=0", ("", "--set=schedule.batch_size=32"), printed("size     32,"), ([False], [True])
    ),
    ("explain", "kimg"): Case(
        f"explain {SMOKE}", ("--kimg=0", "--kimg=1.5"), printed("4x4 stable,", "8x8 fade,"), ([True, False], [False, True])
    ),
    **{
        ("sample", name): Case(
            "sample --seeds=0 --out={tmp}/out",
            (f"--{name}={{run}}", f"--{name}={{labelled}}"),
            lambda seen: grid(seen).shape,
            ((8, 8), (4, 4)),
        )
        for name in ("from", "workdir")
    },
    ("sample", "seeds"): Case(
        "sample --workdir={run} --out={tmp}/out",
        ("--seeds=1", "--seeds=5,7"),
        lambda seen: len(pictures(seen, "seed*.png")),
        (1, 2),
    ),
    ("sample", "num"): Case(
        "sample --from={run} --out={tmp}/out",
        ("", "--num=3"),
        lambda seen: sorted(pictures(seen, "seed*.png"))[-1],
        ("seed0035.png", "seed0002.png"),
    ),
    ("sample", "out"): Case(
        "sample --workdir={run} --seeds=0",
        ("--out={tmp}/out", "--out={tmp}/b"),
        lambda seen: [(seen.places.tmp / name).exists() for name in ("out", "b")],
        ([True, False], [False, True]),
    ),
    ("sample", "overwrite"): Case(
        "sample --from={run} --seeds=0 --out={tmp}/there.npz", ("", "--overwrite"), lambda seen: seen.status, (2, 0)
    ),
    ("sample", "format"): Case(
        SAMPLE,
        ("", "--format=webp"),
        lambda seen: [path.name for path in (seen.places.tmp / "out").glob("seed*")],
        (["seed0003.png"], ["seed0003.webp"]),
    ),
    ("sample", "grid"): Case(
        "sample --from={run} --out={tmp}/out", ("", "--grid=4x2"), lambda seen: grid(seen).shape, ((48, 48), (16, 32))
    ),
    ("sample", "grid_out"): Case(
        "sample --workdir={run} --seeds=0 --out={tmp}/out",
        ("", "--grid_out={tmp}/g.png"),
        lambda seen: [(seen.places.tmp / name).exists() for name in ("out.png", "g.png")],
        ([True, False], [False, True]),
    ),
    # What it does to images is in test_sample.py: it needs a run that does not normalise latents.
    ("sample", "psi"): Case(SAMPLE, ("", "--psi=0.5"), lambda seen: seen.status, (0, 2)),
    ("sample", "checkpoint"): Case(SAMPLE, ("", "--checkpoint=1.008"), alphas, (("1.92", [1.0]), ("1.008", [ALPHA]))),
    ("sample", "network"): Case(
        SAMPLE,
        ("", "--network=raw"),
        drawn_by,
        ([("generator_ema", 1), ("generator_ema", 2)], [("generator", 1), ("generator", 2)]),
    ),
    ("sample", "class"): Case(
        OF_CLASSES, ("--class=1", "--class=2"), drawn_by, ([("generator_ema", 1)], [("generator_ema", 2)])
    ),
    ("sample", "columns"): Case(
        "sample --workdir={run} --seeds=0-3 --out={tmp}/out",
        ("", "--columns=4"),
        lambda seen: grid(seen).shape,
        ((16, 16), (8, 32)),
    ),
    ("sample", "zoom"): Case(
        SAMPLE,
        ("", "--zoom=3"),
        lambda seen: (grid(seen).shape, next(iter(pictures(seen, "seed*.png").values())).shape),
        (((8, 8), (8, 8)), ((24, 24), (24, 24))),
    ),
    ("sample", "gap"): Case(
        "sample --workdir={run} --seeds=0,1 --columns=2 --out={tmp}/out",
        ("", "--gap=3"),
        lambda seen: (grid(seen).shape, int(grid(seen)[:, 8:11].max()) == 0),
        (((8, 16), False), ((11, 22), True)),
    ),
    ("sample", "pitch"): Case(
        SOUND, ("", "--pitch=72"), lambda seen: sounds(seen)[1], ("seed0003-pitch063.wav", "seed0003-pitch072.wav")
    ),
    ("sample", "scale"): Case(SOUND, ("", "--scale"), lambda seen: len(sounds(seen)), (2, 14)),
    ("sample", "melody"): Case(
        "sample --from={sound} --out={tmp}/out",
        ("--melody=scale", "--melody=ode"),
        sounds,
        (["melody-scale-seed0000.wav"], ["melody-ode-seed0000.wav"]),
    ),
    ("sample", "timbres"): Case(MELODY, ("", "--timbres=5"), printed("2 timbres", "5 timbres"), ([True, False], [False, True])),
    ("sample", "seconds_per_timbre"): Case(
        MELODY, ("", "--seconds_per_timbre=1.5"), printed("2 timbres", "5 timbres"), ([True, False], [False, True])
    ),
    ("sample", "fold"): Case(
        "sample --from={sound} --melody={tmp}/low.txt --out={tmp}/out", ("", "--fold"), lambda seen: seen.status, (2, 0)
    ),
    ("sample", "walk"): Case(
        "sample --from={sound} --steps=2 --out={tmp}/out",
        ("--walk=1-2", "--walk=4-3"),
        lambda seen: sounds(seen)[1:],
        *[[[f"walk-{a}-{b}-step{step:02d}-pitch06{a}.wav" for step in range(2)] for a, b in ((1, 2), (4, 3))]],
    ),
    ("sample", "steps"): Case(
        "sample --from={sound} --walk=1-2 --out={tmp}/out", ("", "--steps=3"), lambda seen: len(sounds(seen)), (17, 4)
    ),
    ("sample", "invert"): Case(
        SOUND,
        ("", "--invert=griffin_lim+1"),
        lambda seen: read_mark(seen.places.tmp / "out")["request"]["invert"],
        ("", "griffin_lim+1"),
    ),
    ("sample", "float"): Case(
        SOUND, ("", "--float"), first_sound, (("seed0003-pitch063.wav", 556), ("seed0003-pitch063.wav", 1082))
    ),
    ("sample", "compilation_cache"): Case(SAMPLE, NO_CACHE, cache, CACHES),
    ("project", "from"): Case(
        "project {tmp}/square/0.png --fit --out={tmp}/out",
        ("--from={run}", "--from={labelled}"),
        lambda seen: seen.passed.model.resolution,
        (8, 4),
    ),
    ("project", "workdir"): Case(
        "project {tmp}/square/0.png --fit --out={tmp}/out",
        ("--workdir={run}", "--workdir={labelled}"),
        lambda seen: seen.passed.model.resolution,
        (8, 4),
    ),
    ("project", "checkpoint"): Case(PROJECT, ("", "--checkpoint=1.008"), lambda seen: seen.passed.model.kimg, (1.92, 1.008)),
    ("project", "network"): Case(
        PROJECT,
        ("", "--network=raw"),
        lambda seen: same(load_trained_model(seen.places.run).state.generator, seen.passed.model.generator),
        (False, True),
    ),
    ("project", "class"): Case(
        "project {tmp}/square/0.png --fit --from={labelled} --out={tmp}/out",
        ("", "--class=3"),
        lambda seen: seen.passed.number,
        (None, 3),
    ),
    ("project", "out"): Case(
        "project {tmp}/square/0.png --fit --from={run}",
        ("--out={tmp}/out", "--out={tmp}/b"),
        lambda seen: [(seen.places.tmp / name / "0.npz").exists() for name in ("out", "b")],
        ([True, False], [False, True]),
    ),
    ("project", "overwrite"): Case(
        "project {tmp}/square/0.png --fit --from={run} --out={tmp}/deep",
        ("", "--overwrite"),
        lambda seen: (seen.status, (seen.places.tmp / "deep" / "0.npz").exists()),
        ((2, False), (0, True)),
    ),
    ("project", "fit"): Case(
        "project {tmp}/square/0.png --from={run} --out={tmp}/out", ("", "--fit"), lambda seen: seen.status, (2, 0)
    ),
    ("project", "steps"): Case(PROJECT, ("", "--steps=7"), lambda seen: seen.passed.settings.steps, (1000, 7)),
    ("project", "starts"): Case(PROJECT, ("", "--starts=7"), lambda seen: seen.passed.settings.starts, (5, 7)),
    ("project", "candidates"): Case(PROJECT, ("", "--candidates=7"), lambda seen: seen.passed.settings.candidates, (10_000, 7)),
    ("project", "compilation_cache"): Case(PROJECT, NO_CACHE, cache, CACHES),
    **{
        (command, name): Case(words, (f"--{name}={{run}}", f"--{name}={{labelled}}"), of_run, (True, False))
        for name in ("from", "workdir")
        for command, words in (("directions", "directions --out={tmp}/d.npz"), ("edit", EDIT), ("arithmetic", ARITHMETIC))
    },
    ("directions", "checkpoint"): Case(DIRECTIONS, ("", "--checkpoint=1.008"), source_of("kimg"), (1.92, 1.008)),
    ("directions", "network"): Case(
        f"{DIRECTIONS} --count=2", ("", "--network=raw"), weights_of_directions, (["ema"], ["raw"])
    ),
    ("directions", "class"): Case(
        "directions --from={labelled} --out={tmp}/d.npz", ("", "--class=5"), source_of("class"), (None, 5)
    ),
    ("directions", "method"): Case(DIRECTIONS, ("", "--method=pca"), lambda seen: directions(seen).method, ("sefa", "pca")),
    ("directions", "count"): Case(DIRECTIONS, ("", "--count=3"), lambda seen: len(directions(seen).names), (8, 3)),
    ("directions", "num_samples"): Case(
        f"{DIRECTIONS} --method=pca", ("", "--num_samples=300"), source_of("num_samples"), (10_000, 300)
    ),
    ("directions", "data"): Case(
        TOWARDS_CLASSES,
        ("", "--data=synthetic:300"),
        printed("on 1,797 images", "on 300 images"),
        ([True, False], [False, True]),
    ),
    ("directions", "orthogonal"): Case(
        TOWARDS_CLASSES,
        ("", "--orthogonal=all"),
        lambda seen: seen.status == 0 and bool((directions(seen).values == 1).all()),
        (True, False),
    ),
    ("directions", "seeds"): Case(
        "directions --from={run} --out={tmp}/d.npz",
        ("--seeds=0", "--seeds=4-6"),
        lambda seen: picture(seen.places.tmp / "d.png").shape[1] // (7 * 50),
        (1, 3),
    ),
    ("directions", "out"): Case(
        "directions --from={run} --seeds=0",
        ("--out={tmp}/a.npz", "--out={tmp}/b.npz"),
        lambda seen: [(seen.places.tmp / name).exists() for name in ("a.npz", "a.png", "b.npz", "b.png")],
        ([True, True, False, False], [False, False, True, True]),
    ),
    ("directions", "overwrite"): Case(
        "directions --from={run} --out={tmp}/there.npz", ("", "--overwrite"), lambda seen: seen.status, (2, 0)
    ),
    ("directions", "compilation_cache"): Case(DIRECTIONS, NO_CACHE, cache, CACHES),
    **{
        (command, flag): case
        for command, words in (("edit", EDIT), ("arithmetic", ARITHMETIC))
        for flag, case in {
            "checkpoint": Case(
                f"{words} --from={{run}}",
                ("", "--checkpoint=1.008"),
                drawn_in_sheet,
                ([("1.92", "ema")], [("1.008", "ema")]),
            ),
            "network": Case(
                f"{words} --from={{run}}", ("", "--network=raw"), drawn_in_sheet, ([("1.92", "ema")], [("1.92", "raw")])
            ),
            "class": Case(f"{words} --from={{labelled}}", ("--class=1", "--class=2"), class_in_sheet, ([1], [2])),
            "out": Case(
                words.replace("--out={tmp}/e.png", "--from={run}"),
                ("--out={tmp}/a.png", "--out={tmp}/b.png"),
                lambda seen: [(seen.places.tmp / name).exists() for name in ("a.png", "b.png")],
                ([True, False], [False, True]),
            ),
            "overwrite": Case(
                words.replace("{tmp}/e.png", "{tmp}/square/0.png --from={run}"),
                ("", "--overwrite"),
                lambda seen: seen.status,
                (2, 0),
            ),
            "compilation_cache": Case(f"{words} --from={{run}}", NO_CACHE, cache, CACHES),
        }.items()
    },
    ("edit", "direction"): Case(
        f"{EDIT} --from={{run}}",
        ("", "--direction={tmp}/sefa.npz:b"),
        printed("1 rows", "2 rows"),
        ([True, False], [False, True]),
    ),
    ("edit", "seeds"): Case(
        f"{EDIT} --from={{run}}", ("", "--seeds=1-3"), printed("1 rows", "3 rows"), ([True, False], [False, True])
    ),
    ("edit", "strength"): Case(
        f"{EDIT} --from={{run}}",
        ("", "--strength=0:4:3"),
        printed("of 1 images", "of 3 images"),
        ([True, False], [False, True]),
    ),
    ("edit", "zoom"): Case(
        f"{EDIT} --from={{run}}",
        ("--zoom=8", "--zoom=10"),
        lambda seen: picture(seen.places.tmp / "e.png").shape[0] - (8 * 8 + 21),
        (0, 16),
    ),
    ("film", "kind"): Case(
        FILM, ("--kind=loop", "--kind=training"), printed("a closed loop", "sample grids"), ([True, False], [False, True])
    ),
    ("film", "from"): Case(
        FILM.replace("--from={run} ", ""),
        ("--from={run}", "--from={labelled}"),
        lambda seen: film(seen)[0].shape,
        ((8, 8, 3), (4, 4, 3)),
    ),
    ("film", "workdir"): Case(
        FILM.replace("--from={run} ", ""),
        ("--workdir={run}", "--workdir={labelled}"),
        lambda seen: film(seen)[0].shape,
        ((8, 8, 3), (4, 4, 3)),
    ),
    ("film", "checkpoint"): Case(
        FILM, ("", "--checkpoint=1.008"), printed("at kimg 1.92 ", "at kimg 1.008 "), ([True, False], [False, True])
    ),
    ("film", "network"): Case(
        f"{FILM} --kind=walk --seeds=3,4", ("", "--network=raw"), film_begins_with, ([("ema", 3, 0)], [("raw", 3, 0)])
    ),
    ("film", "seeds"): Case(
        f"{FILM} --kind=walk", ("--seeds=1,3", "--seeds=3,1"), film_begins_with, ([("ema", 1, 0)], [("ema", 3, 0)])
    ),
    ("film", "class"): Case(
        FILM.replace("{run}", "{labelled}") + " --kind=walk --seeds=3,3",
        ("--class=1,2", "--class=2,1"),
        film_begins_with,
        ([("ema", 3, 1)], [("ema", 3, 2)]),
    ),
    ("film", "closed"): Case(
        f"{FILM} --kind=walk --seeds=1,3",
        ("", "--closed"),
        lambda seen: np.array_equal(film(seen)[-1][..., 0], load(seen.places.run).sample([3])[0, ..., 0]),
        (True, False),
    ),
    ("film", "smooth"): Case(
        FILM,
        ("--smooth=0.1", "--smooth=0.2"),
        lambda seen: (seen.status, "at most a quarter of the film" in seen.err),
        ((0, False), (2, True)),
    ),
    ("film", "grid"): Case(
        f"{FILM} --kind=grid", ("", "--grid=2x1"), lambda seen: film(seen)[0].shape, ((24, 32, 3), (8, 16, 3))
    ),
    ("film", "seconds"): Case(FILM, ("", "--seconds=0.6"), length_and_rate, ((0.4, 100), (0.6, 100))),
    ("film", "fps"): Case(FILM, ("", "--fps=20"), length_and_rate, ((0.4, 100), (0.4, 50))),
    ("film", "zoom"): Case(
        FILM.replace("--zoom=1 ", ""), ("", "--zoom=2"), lambda seen: film(seen)[0].shape, ((256, 256, 3), (16, 16, 3))
    ),
    ("film", "colors"): Case(
        FILM.replace("f.png", "f.gif"),
        ("", "--colors=2"),
        lambda seen: len(np.unique(film(seen, "f.gif")[0])) <= 2,
        (False, True),
    ),
    ("film", "out"): Case(
        "film --from={run} --seconds=0.2 --fps=10 --zoom=1",
        ("--out={tmp}/f.png", "--out={tmp}/new/g.gif"),
        lambda seen: [(seen.places.tmp / name).exists() for name in ("f.png", "new/g.gif")],
        ([True, False], [False, True]),
    ),
    ("film", "overwrite"): Case(
        FILM.replace("f.png", "square/0.png"),
        ("", "--overwrite"),
        lambda seen: (seen.status, "exists" in seen.err),
        ((2, True), (0, False)),
    ),
    ("film", "compilation_cache"): Case(FILM, NO_CACHE, cache, CACHES),
    ("inspect", "workdir"): Case(
        "inspect",
        ("--workdir={run}", "--workdir={labelled}"),
        printed("  1.920  ", "  0.160  "),
        ([True, False], [False, True]),
    ),
    ("inspect", "json"): Case("inspect --workdir={run}", ("", "--json"), printed('{"kimg"'), ([False], [True])),
    ("evaluate", "workdir"): Case(
        "evaluate --out={tmp}/out",
        ("--workdir={run}", "--workdir={labelled}"),
        printed("8x8", "4x4"),
        ([True, False], [False, True]),
    ),
    ("evaluate", "from"): Case(
        "evaluate --out={tmp}/out",
        ("--from={run}", "--from={labelled}"),
        printed("8x8", "4x4"),
        ([True, False], [False, True]),
    ),
    ("evaluate", "metrics"): Case(
        EVALUATE,
        ("", "--metrics=ms_ssim,swd_small"),
        lambda seen: seen.passed.names,
        (["swd", "ms_ssim"], ["ms_ssim", "swd_small"]),
    ),
    ("evaluate", "num_images"): Case(
        EVALUATE, ("", "--num_images=50"), lambda seen: seen.passed.evaluator["num_images"], (0, 50)
    ),
    ("evaluate", "checkpoint"): Case(
        EVALUATE,
        ("", "--checkpoint=1.008"),
        lambda seen: ("kimg 1.92," in seen.out, "kimg 1.008," in seen.out, round(seen.passed.generated_images_alpha, 6)),
        ((True, False, 1.0), (False, True, round(ALPHA, 6))),
    ),
    ("evaluate", "network"): Case(
        EVALUATE, ("", "--network=raw"), lambda seen: network_of(seen), ("generator_ema", "generator")
    ),
    ("evaluate", "data"): Case(
        EVALUATE,
        ("", "--data=synthetic:40"),
        lambda seen: (seen.passed.context.data.source, len(seen.passed.context.reals)) if seen.status == 0 else seen.err[:30],
        (("digits", 1797), "error: --data=synthetic:40: ha"),
    ),
    ("evaluate", "held_out"): Case(
        f"{OF_IMAGES} --metrics=neighbors",
        ("", "--held_out=synthetic:30:7"),
        lambda seen: seen.passed.context.held_out and (seen.passed.context.held_out.name, len(seen.passed.context.held_out)),
        (None, ("synthetic:30:7", 30)),
    ),
    ("evaluate", "images"): Case(
        "evaluate --data=synthetic:40",
        ("--images={tmp}/square", "--images={tmp}/other"),
        lambda seen: len(seen.passed.images),
        (1, 2),
    ),
    ("evaluate", "resolution"): Case(
        OF_IMAGES,
        ("", "--resolution=8"),
        lambda seen: (seen.passed.context.reals.resolution, seen.passed.resolution),
        ((16, 16), (8, 8)),
    ),
    ("evaluate", "inception_weights"): Case(
        EVALUATE, ("", "--inception_weights=a.npz"), lambda seen: extractor(seen)[0], (None, "a.npz")
    ),
    ("evaluate", "resize"): Case(EVALUATE, ("", "--resize=clean"), lambda seen: extractor(seen)[1], ("tf1", "clean")),
    ("evaluate", "floor"): Case(EVALUATE, ("", "--nofloor"), lambda seen: seen.passed.evaluator["with_floor"], (True, False)),
    ("evaluate", "seed"): Case(
        EVALUATE,
        ("--seed=0", "--seed=7"),
        lambda seen: (seen.passed.context.seed, seen.passed.generated_images_seed),
        ((0, 0), (7, 7)),
    ),
    ("evaluate", "out"): Case(
        OF_IMAGES,
        ("", "--out={tmp}/out"),
        lambda seen: [path.name for path in (seen.places.tmp / "out").glob("*.jsonl")],
        ([], ["metric-swd.jsonl"]),
    ),
    ("evaluate", "compilation_cache"): Case(EVALUATE, NO_CACHE, cache, CACHES),
    ("report", "workdir"): Case(
        "report --out={tmp}/page.html",
        ("--workdir={run}", "--workdir={labelled}"),
        lambda seen: [name in (seen.places.tmp / "page.html").read_text() for name in ("finished", "labelled")],
        ([True, False], [False, True]),
    ),
    ("report", "out"): Case(
        "report --workdir={tmp}/copy",
        ("", "--out={tmp}/page.html"),
        lambda seen: [(seen.places.tmp / name).exists() for name in ("copy/report.html", "page.html")],
        ([True, False], [False, True]),
    ),
    ("check", "crop"): Case(CHECK, ("", "--crop=none"), report("usable"), (4, 2)),
    ("check", "resample"): Case(
        "check folder:{pictures} --resolution=8", ("", "--resample=box"), printed("data.resample=box"), ([False], [True])
    ),
    ("check", "modes"): Case(CHECK, ("", "--modes=refuse"), report("usable"), (4, 3)),
    ("check", "channels"): Case(f"{CHECK} --modes=refuse", ("", "--channels=1"), report("usable"), (3, 1)),
    ("check", "range"): Case(
        "check folder:{pictures} --resolution=8", ("", "--range=0,4095"), printed("data.range=0,4095"), ([False], [True])
    ),
    ("check", "max_images"): Case(CHECK, ("", "--max_images=2"), report("images"), (4, 2)),
    ("check", "shuffle_seed"): Case(
        f"{CHECK} --max_images=2",
        ("", "--shuffle_seed=6"),
        lambda seen: sorted(report("sizes")(seen)),
        (["16x12", "16x16"], sorted(set(shuffled(["16x12", "16x16", "16x16", "20x16"])[:2]))),
    ),
    ("check", "resolution"): Case("check folder:{pictures} --json", ("", "--resolution=16"), report("usable"), (4, 3)),
    ("check", "base_shape"): Case(f"{CHECK} --resolution=16", ("", "--base_shape=3x4"), report("usable"), (3, 4)),
    ("check", "workers"): Case(CHECK, ("", "--workers=0"), lambda seen: seen.passed.check_workers, (None, 0)),
    ("check", "json"): Case("check folder:{pictures}", ("", "--json"), printed('"usable": 4'), ([False], [True])),
    ("check", "config"): Case(
        "check notes:4 --json",
        ("", "--config=experiments/notes_smoke.py"),
        report("representation", "frames"),
        (32, 8),
    ),
    ("check", "set"): Case(
        "check notes:4 --json", ("", "--set=sound.sample_rate=16000"), report("representation", "sample_rate"), (8000, 16_000)
    ),
    ("check", "force"): Case(
        "check notes:4 --set=sound.magnitude_range=0,0.1", ("", "--force"), lambda seen: seen.status, (1, 0)
    ),
    ("prepare", "config"): Case(
        "prepare notes:4 --out={tmp}/out",
        ("", "--config=experiments/notes_smoke.py"),
        lambda seen: prepared(seen).shape,
        ((4, 32, 128, 2), (4, 8, 32, 2)),
    ),
    ("prepare", "set"): Case(
        "prepare notes:4 --out={tmp}/out",
        ("", "--set=sound.pitches=60"),
        lambda seen: len(prepared(seen)),
        (4, 1),
    ),
    ("prepare", "allow_few"): Case(
        "prepare notes:4 --out={tmp}/out", ("", "--allow_few"), lambda seen: seen.passed.allow_few, (False, True)
    ),
    ("prepare", "out"): Case(
        "prepare folder:{pictures} --resolution=8",
        ("--out={tmp}/out", "--out={tmp}/b"),
        lambda seen: [(seen.places.tmp / name).exists() for name in ("out", "b")],
        ([True, False], [False, True]),
    ),
    ("prepare", "crop"): Case(PREPARE, ("", "--crop=none"), lambda seen: len(prepared(seen)), (4, 2)),
    ("prepare", "resample"): Case(
        PREPARE,
        ("", "--resample=nearest"),
        lambda seen: has_only_pixels_of_its_file(prepared(seen)[1], seen),
        (False, True),
    ),
    ("prepare", "modes"): Case(PREPARE, ("", "--modes=refuse"), lambda seen: len(prepared(seen)), (4, 3)),
    ("prepare", "channels"): Case(PREPARE, ("", "--channels=1"), lambda seen: prepared(seen).shape[-1], (3, 1)),
    ("prepare", "range"): Case(
        DEEP, ("--range=full", "--range=0,4095"), lambda seen: prepared(seen).max() > 200, (False, True)
    ),
    ("prepare", "max_images"): Case(PREPARE, ("", "--max_images=2"), lambda seen: len(prepared(seen)), (4, 2)),
    ("prepare", "shuffle_seed"): Case(PREPARE, ("", "--shuffle_seed=6"), labels, ([0, 0, 1, 1], shuffled([0, 0, 1, 1]))),
    ("prepare", "resolution"): Case(
        "prepare folder:{pictures} --out={tmp}/out",
        ("--resolution=4", "--resolution=8"),
        lambda seen: prepared(seen).shape[1],
        (4, 8),
    ),
    ("prepare", "base_shape"): Case(
        PREPARE, ("", "--base_shape=3x4"), lambda seen: prepared(seen).shape[1:3], ((8, 8), (6, 8))
    ),
    ("prepare", "mirror"): Case(
        PREPARE,
        ("", "--mirror"),
        lambda seen: (len(prepared(seen)), np.array_equal(prepared(seen)[0], prepared(seen)[1][:, ::-1])),
        ((4, False), (8, True)),
    ),
    ("prepare", "workers"): Case(PREPARE, ("", "--workers=0"), lambda seen: seen.passed.prepare_workers, (None, 0)),
    ("prepare", "dry_run"): Case(PREPARE, ("", "--dry_run"), lambda seen: (seen.places.tmp / "out").exists(), (True, False)),
    ("show", "out"): Case(
        "show folder:{pictures}",
        ("--out={tmp}/out/grid.png", "--out={tmp}/b.png"),
        lambda seen: [(seen.places.tmp / name).exists() for name in ("out/grid.png", "b.png")],
        ([True, False], [False, True]),
    ),
    ("show", "config"): Case(
        "show notes:4 --out={tmp}/out.wav",
        ("", "--config=experiments/notes_smoke.py"),
        lambda seen: wave_bytes(seen, "."),
        (2 * (8 * 4096 + 7 * 800), 2 * (8 * 256 + 7 * 400)),
    ),
    ("show", "set"): Case(
        "show notes:8 --out={tmp}/out.wav",
        ("", "--set=sound.pitches=60-61"),
        printed("8 clips ->", "2 clips ->"),
        ([True, False], [False, True]),
    ),
    ("show", "crop"): Case(
        SHOW, ("", "--crop=none"), printed("4 images of 4", "2 images of 4"), ([True, False], [False, True])
    ),
    ("show", "resample"): Case(
        f"{SHOW} --first=1 --columns=1 --rows=1",
        ("", "--resample=nearest"),
        lambda seen: has_only_pixels_of_its_file(grid(seen)[:64:8, :64:8], seen),
        (False, True),
    ),
    ("show", "modes"): Case(SHOW, ("", "--modes=refuse"), lambda seen: seen.status, (0, 1)),
    ("show", "channels"): Case(SHOW, ("", "--channels=1"), lambda seen: grid(seen).ndim, (3, 2)),
    ("show", "range"): Case(
        DEEP.replace("prepare", "show").replace("/out ", "/out/grid.png "),
        ("--range=full", "--range=0,4095"),
        lambda seen: grid(seen)[:64, :64].max() > 200,
        (False, True),
    ),
    ("show", "max_images"): Case(
        SHOW, ("", "--max_images=2"), printed("4 images of 4", "2 images of 2"), ([True, False], [False, True])
    ),
    ("show", "shuffle_seed"): Case(
        f"{SHOW} --columns=1 --rows=1 --resample=nearest --first={shuffled([0, 1, 2, 3]).index(1)}",
        ("", "--shuffle_seed=6"),
        lambda seen: has_only_pixels_of_its_file(grid(seen)[:64:8, :64:8], seen),
        (shuffled([0, 1, 2, 3]).index(1) == 1, True),
    ),
    ("show", "resolution"): Case(
        "show folder:{pictures} --out={tmp}/out/grid.png --columns=1 --rows=1 --first=1 --resample=nearest",
        ("--resolution=4", "--resolution=8"),
        lambda seen: len({tuple(row) for row in grid(seen)[:64, 0].tolist()}),
        (4, 8),
    ),
    ("show", "base_shape"): Case(
        f"{SHOW} --columns=1 --rows=1",
        ("", "--base_shape=3x4"),
        lambda seen: grid(seen).shape[1] > grid(seen).shape[0] - 14,
        (False, True),
    ),
    ("show", "columns"): Case(SHOW, ("", "--columns=2"), lambda seen: round(grid(seen).shape[1] / 66), (8, 2)),
    ("show", "rows"): Case(
        f"{SHOW} --columns=1",
        ("--rows=1", "--rows=3"),
        printed("1 images of 4", "3 images of 4"),
        ([True, False], [False, True]),
    ),
    ("show", "first"): Case(SHOW, ("", "--first=3"), printed("4 images of 4", "1 images of 4"), ([True, False], [False, True])),
    ("extract", "out"): Case(
        "extract synthetic:2 --resolution=8",
        ("--out={tmp}/out", "--out={tmp}/b"),
        lambda seen: [(seen.places.tmp / name).exists() for name in ("out", "b")],
        ([True, False], [False, True]),
    ),
    ("extract", "resolution"): Case(
        "extract synthetic:1 --out={tmp}/out",
        ("--resolution=8", "--resolution=16"),
        lambda seen: next(iter(pictures(seen, "*.png").values())).shape[0],
        (8, 16),
    ),
    ("extract", "config"): Case(
        "extract notes:1 --out={tmp}/out", ("", "--config=experiments/notes_smoke.py"), wave_bytes, (4 * 4096, 4 * 256)
    ),
    ("extract", "set"): Case(
        "extract notes:1 --out={tmp}/out", ("", "--set=sound.length=4000"), wave_bytes, (4 * 4096, 4 * 4000)
    ),
    ("extract", "max_images"): Case(
        "extract synthetic:3 --resolution=8 --out={tmp}/out",
        ("", "--max_images=2"),
        lambda seen: len(pictures(seen, "*.png")),
        (3, 2),
    ),
    ("compare", "resolution"): Case(
        "compare synthetic:1 synthetic:1",
        ("--resolution=8", "--resolution=16"),
        lambda seen: seen.passed.open_source_resolution,
        (8, 16),
    ),
    ("compare", "config"): Case(
        "compare notes:4 notes:4",
        ("", "--config=experiments/notes_smoke.py"),
        lambda seen: seen.passed.open_source_sound.frames,
        (32, 8),
    ),
    ("compare", "set"): Case(
        "compare notes:26 notes:26",
        ("", "--set=sound.pitches=60"),
        printed("26 of 26", "2 of 2"),
        ([True, False], [False, True]),
    ),
    ("compare", "ignore_labels"): Case(
        "compare folder:{pictures} folder:{pictures}/a", ("", "--ignore_labels"), printed("labels"), ([True], [False])
    ),
    ("cache", "limit"): Case(
        "cache",
        ("", "--limit=data:7GB"),
        lambda seen: Cache(seen.places.tmp / "cache").limits()["data"] == 7 * 10**9,
        (False, True),
    ),
    ("cache", "clear"): Case(
        "cache",
        ("--clear=compiled", "--clear=features"),
        lambda seen: [path.name for path in sorted((seen.places.tmp / "cache").rglob("*-cache"))],
        ([], ["jit_step-abc-cache"]),
    ),
    **{
        ("explore", name): Case(
            "explore",
            (f"--{name}={{run}}", f"--{name}={{labelled}}"),
            lambda seen: [level.resolution for level in seen.passed.explorer.levels],
            ([8], [4]),
        )
        for name in ("from", "workdir")
    },
    ("explore", "checkpoint"): Case(
        EXPLORE, ("", "--checkpoint=1.008"), lambda seen: seen.passed.explorer.model.kimg, (1.92, 1.008)
    ),
    ("explore", "network"): Case(
        EXPLORE,
        ("", "--network=raw"),
        lambda seen: seen.passed.explorer.model.digest == load(seen.places.run, network="raw").digest,
        (False, True),
    ),
    ("explore", "compilation_cache"): Case(EXPLORE, NO_CACHE, cache, CACHES),
    ("explore", "directions"): Case(
        f"{EXPLORE} --port=7861",
        ("", "--directions={tmp}/sefa.npz"),
        lambda seen: list(seen.passed.explorer.directions),
        ([f"sefa_{number}" for number in range(8)], ["a", "b"]),
    ),
    ("explore", "port"): Case(EXPLORE, ("", "--port=9000"), lambda seen: seen.passed.port, (7860, 9000)),
    ("explore", "browser"): Case(EXPLORE, ("", "--browser"), lambda seen: seen.passed.opens_browser, (False, True)),
    **{
        ("export", name): Case(
            "export --out={tmp}/a.safetensors",
            (f"--{name}={{run}}", f"--{name}={{labelled}}"),
            lambda seen: read_model_file(seen.places.tmp / "a.safetensors")[0].shape.resolution,
            (8, 4),
        )
        for name in ("from", "workdir")
    },
    ("export", "checkpoint"): Case(
        EXPORT,
        ("", "--checkpoint=1.008"),
        lambda seen: read_model_file(seen.places.tmp / "a.safetensors")[0].metadata.images_seen,
        (1920, 1008),
    ),
    ("export", "network"): Case(
        "export --from={run} --out={tmp}/a.html", ("", "--network=raw"), network_of_page, ("ema", "raw")
    ),
    ("export", "compilation_cache"): Case(EXPORT, NO_CACHE, cache, CACHES),
    ("export", "out"): Case(
        "export --from={run}",
        ("--out={tmp}/a.safetensors", "--out={tmp}/b.safetensors"),
        lambda seen: [(seen.places.tmp / f"{name}.md").is_file() for name in "ab"],
        ([True, False], [False, True]),
    ),
    ("export", "overwrite"): Case(
        "export --from={run} --out={tmp}/there.safetensors", ("", "--overwrite"), lambda seen: seen.status, (2, 0)
    ),
    ("export", "licence"): Case(
        EXPORT,
        ("", "--licence=CC0"),
        lambda seen: read_model_file(seen.places.tmp / "a.safetensors")[1].licence,
        ("", "CC0"),
    ),
    ("import", "out"): Case(
        "import {tmp}/network.pkl --overwrite",
        ("--out={tmp}/a.safetensors", "--out={tmp}/b.safetensors"),
        lambda seen: sorted(path.name for path in seen.places.tmp.glob("[ab].safetensors")),
        (["a.safetensors"], ["b.safetensors"]),
    ),
    ("import", "overwrite"): Case(
        "import {tmp}/network.pkl --out={tmp}/there.safetensors", ("", "--overwrite"), lambda seen: seen.status, (2, 0)
    ),
    ("import", "licence"): Case(
        "import {tmp}/network.pkl --out={tmp}/a.safetensors",
        ("", "--licence=CC0"),
        lambda seen: read_model_file(seen.places.tmp / "a.safetensors")[1].licence[:8],
        ("CC BY-NC", "CC0"),
    ),
    ("convert_inception", "overwrite"): Case(
        "convert_inception {tmp}/in {tmp}/there.npz", ("", "--overwrite"), lambda seen: seen.status, (2, 0)
    ),
    ("settings", "config"): Case(
        "settings", ("", SMOKE), printed("\ndata.resolution = 32\n", "\ndata.resolution = 16\n"), ([True, False], [False, True])
    ),
    ("settings", "set"): Case("settings", ("", "--set=run.seed=5"), printed("\nrun.seed = 5\n"), ([False], [True])),
}


def network_of(seen: Seen) -> str:
    """Whose weights drew what was evaluated."""
    state = load_trained_model(seen.places.run).state
    return next(name for name in ("generator", "generator_ema") if same(getattr(state, name), seen.passed.params))


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def extractor(seen: Seen) -> tuple[str | None, str]:
    """What the Inception network is made from."""
    _ = seen.passed.context.extractor
    return seen.passed.weights, seen.passed.resize


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_flag_is_in_the_table(name):
    flags = set(importlib.import_module(f"pggan_jax.cli.{name}").FLAGS) - HELP
    assert flags == {flag for command, flag in CASES if command == name}


@pytest.mark.parametrize(("command", "flag"), CASES, ids=lambda word: word)
def test_changes_what_it_should(door, places, command, flag):
    case = CASES[command, flag]
    assert case.expected[0] != case.expected[1]
    for value, expected in zip(case.values, case.expected, strict=True):
        furnish(places, case.words)
        untouched = {
            "jax_compilation_cache_dir": None if flag == "compilation_cache" else jax.config.jax_compilation_cache_dir,
            "jax_enable_compilation_cache": True,
        }
        with jax_settings(**untouched):
            seen = door([*case.words.split(), *filter(None, [value])])
            assert case.look(seen) == expected, (value, seen.out, seen.err)


@pytest.mark.parametrize("mirror", [False, True])
def test_evaluation_mirrors_reals_where_training_did(door, places, mirror):
    """By the command, and while training."""
    furnish(places, "{tmp}/copy")
    path = places.tmp / "copy" / "config.json"
    settings = json.loads(path.read_text())
    settings["data"]["mirror"] = mirror
    path.write_text(json.dumps(settings))
    seen = door(["evaluate", "--workdir={tmp}/copy", "--out={tmp}/out"])
    assert (seen.status, seen.passed.context.reals.mirror) == (0, mirror)
    config = small_config(data__mirror=mirror, eval__metrics=("swd_small",))
    with mock.patch.object(periodic_eval, "Evaluator") as made:
        periodic_eval.PeriodicEvaluator(config, small_loader(config.data, config.run.seed)).check()
    assert {call.args[1].reals.mirror for call in made.call_args_list} == {mirror}
