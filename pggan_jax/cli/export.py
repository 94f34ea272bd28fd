"""python launch.py export --from=SOURCE --out=FILE [--licence=TEXT] [--overwrite]

Write a trained model as one file, and beside it FILE's model card, NAME.md, with a picture of samples. By the suffix of --out:
  .safetensors  both networks and all settings: what every command here reads, and `pggan_jax.load`
  .stablehlo    the generator for any program with JAX, on CPU, GPU and TPU, without this package
  .onnx         the generator for ONNX Runtime, checked there (needs requirements-optional.txt)
  .html         a page that draws samples in any browser, without a server or a network

Examples:
  python launch.py export --from=runs/digits --out=digits.safetensors --licence="CC0"
  python launch.py export --from=digits.safetensors --out=digits.stablehlo

--network chooses the generator of the last three; .safetensors has both, and the discriminator. docs/weights.md says how
long each form can be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.compilation_cache import use_compilation_cache
from pggan_jax.cli.model_flags import cannot_be_written, define_model_flags, define_out_flag, make_parent, output_file
from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.checkpointing.model_file import Origin
    from pggan_jax.checkpointing.trained_model import TrainedModel
    from pggan_jax.generation.model import Model

FLAGS = flags.FlagValues()
define_model_flags(FLAGS)
define_out_flag(FLAGS, "model.safetensors", "the file to write: .safetensors, .stablehlo, .onnx or .html")
flags.DEFINE_string("licence", None, "licence of the weights, for the card and the file", flag_values=FLAGS)

_SUFFIXES = (".safetensors", ".stablehlo", ".onnx", ".html")
_MARK = "<!-- written by pggan_jax export"
_SAMPLES = 16
_MULTIPLY_ADDS_PER_SECOND = 350e6
"""Of a browser on one core of an AMD EPYC."""
_CHECKED = 4


def run(values: flags.FlagValues) -> None:
    """Write the file and its card, and print where."""
    from pggan_jax.checkpointing.open_model import is_model_file, metric_records, model_of, open_source, split_source

    out = output_file(values, _SUFFIXES)
    out = out.with_suffix(out.suffix.lower())
    flag, card = f"--out={flag_value(values, 'out')}", out.with_suffix(".md")
    picture = out.with_name(f"{out.stem}-samples.png")
    former = _former_model(values, card, picture)
    use_compilation_cache(values)
    source, network = flag_value(values, "from"), flag_value(values, "network")
    trained, origin = open_source(source, checkpoint=flag_value(values, "checkpoint"), named="--from=")
    origin = replace(origin, licence=flag_value(values, "licence") or origin.licence)
    if not is_model_file(source):
        workdir, _ = split_source(source, named="--from=")
        origin = replace(origin, metrics=metric_records(workdir, trained.metadata.images_seen))
    model = model_of(trained, name=source, network=network)
    make_parent(out, flag)
    try:
        lines = _write(out, trained, model, origin)
        forms = _SUFFIXES if former == model.digest else (out.suffix,)
        _write_card(card, picture, trained, model, origin, forms)
    except OSError as error:
        raise cannot_be_written(flag, error) from None
    print("\n".join(lines))
    print(f"{out.stat().st_size / 1e6:.1f} MB -> {out}, {card}, {picture}")


def _former_model(values: flags.FlagValues, card: Path, picture: Path) -> str:
    """Return the digest of the model of a card that `export` has written; empty without.

    Raises:
        UserError: a card or a picture is there that somebody else has written or changed, and no --overwrite.
    """
    mark, _, text = card.read_text(encoding="utf-8", errors="replace").partition("\n") if card.is_file() else ("", "", "")
    words = mark.removeprefix(_MARK).split()
    is_own = mark.startswith(_MARK) and words[:1] == [_digest(text)]
    for path in (card, picture):
        if path.exists() and not is_own and not flag_value(values, "overwrite"):
            what = (
                "was changed by hand" if path == card and mark.startswith(_MARK) else "exists, and the model card belongs there"
            )
            raise UserError(f"{path}: {what}; choose another --out, or add --overwrite")
    return words[1] if is_own else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(out: Path, trained: TrainedModel, model: Model, origin: Origin) -> list[str]:
    """Write the file, and return lines about it."""
    if out.suffix == ".safetensors":
        from pggan_jax.checkpointing.model_file import write_model_file

        write_model_file(out, trained, origin)
        return ["settings, generator, its moving average" + ", discriminator" * (model.discriminator is not None)]
    if out.suffix == ".html":
        return _write_page(out, trained, model, origin)
    import jax.numpy as jnp

    def generator(latents: Any, labels: Any = None) -> Any:
        return model.apply_generator(latents, jnp.zeros((latents.shape[0], 0)) if labels is None else labels)

    sizes = (model.latent_size, model.label_size)[: 2 if model.label_size else 1]
    if out.suffix == ".stablehlo":
        from pggan_jax.interop.stablehlo import PLATFORMS, write_stablehlo

        program = write_stablehlo(out, generator, sizes)
        return [
            f"StableHLO for {', '.join(PLATFORMS)}, any batch, by jax {program.jax_version} (calling convention "
            f"{program.calling_convention}); JAX promises to read it for 6 months, so keep a .safetensors too"
        ]
    from pggan_jax.interop.onnx_file import write_onnx

    latents = model.latents(range(_CHECKED))
    rows = [latents, model.one_hot(None, count=_CHECKED)][: len(sizes)]
    difference = write_onnx(out, generator, rows)
    return [f"ONNX, any batch; images of ONNX Runtime differ by {difference:.1e} of 2"]


def _write_page(out: Path, trained: TrainedModel, model: Model, origin: Origin) -> list[str]:
    from pggan_jax.generation.web.page import sample_page
    from pggan_jax.generation.web.program import generator_program
    from pggan_jax.system.files import write_atomically

    facts = {
        "images": f"{trained.shape}, {model.shape[2]} channel{'s' * (model.shape[2] > 1)}",
        "trained on": _data(trained, origin),
        "licence": origin.licence or "not stated",
    }
    program = generator_program(model)
    write_atomically(out, sample_page(model, program, title=out.stem, facts=facts).encode())
    seconds = program.multiply_adds / _MULTIPLY_ADDS_PER_SECOND
    return [f"a page; open it in any browser, which draws an image in about {seconds:.1g} s"]


def _data(trained: TrainedModel, origin: Origin) -> str:
    """Say what a model was trained on."""
    if origin.is_foreign:
        return f"not recorded; {origin.file} of {origin.program}"
    record = trained.metadata.data_record
    return trained.config.data.source + (f", {record.images:,} images" if record else "")


def _write_card(card: Path, picture: Path, trained: TrainedModel, model: Model, origin: Origin, forms: Sequence[str]) -> None:
    """Write samples, and the card with a program for each file of the same name and model.

    Args:
        card, picture: where they go.
        trained, model, origin: what they are about.
        forms: suffixes that files of this model may have.
    """
    from pggan_jax.images import make_grid, write_png
    from pggan_jax.reporting.model_card import CardFacts, model_card
    from pggan_jax.system.files import write_atomically

    write_png(picture, make_grid(model.sample(range(_SAMPLES)), columns=_SAMPLES // 2), holds="several images")
    facts = CardFacts(
        name=card.stem,
        config=trained.config,
        shape=model.shape,
        latent_size=model.latent_size,
        classes=model.class_names or [str(number) for number in range(model.label_size)],
        kimg=model.kimg,
        alpha=model.alpha,
        data=_data(trained, origin),
        licence=origin.licence,
        metrics=origin.metrics,
        picture=picture.name,
        notes=origin.notes,
    )
    there = [card.with_suffix(suffix) for suffix in forms if card.with_suffix(suffix).is_file()]
    loading = {path.name: _PROGRAMS[path.suffix].format(**_words(path, model)) for path in there}
    text = model_card(facts, loading)
    write_atomically(card, f"{_MARK} {_digest(text)} {model.digest} -->\n{text}".encode())


def _words(path: Path, model: Model) -> Mapping[str, Any]:
    """What differs between the programs of different models."""
    present = list(model.present_classes)
    every = present == list(range(model.label_size))
    classes = f"np.arange(16) % {len(present)}" if every else f"np.array({present})[np.arange(16) % {len(present)}]"
    labels = f"\nlabels = np.eye({model.label_size}, dtype=np.float32)[{classes}]" if present else ""
    shape = ", ".join(map(str, (_SAMPLES, *model.shape)))
    return {"file": path.name, "size": model.latent_size, "labels": labels, "more": ", labels" * bool(labels), "shape": shape}


_ROUNDED = "images = np.clip(np.rint(127.5 * images + 127.5), 0, 255).astype(np.uint8)  # [{shape}]\n"
_LATENTS = "latents = np.stack([np.random.RandomState(seed).randn({size}) for seed in range(16)]).astype(np.float32){labels}\n"
_PROGRAMS = {
    ".safetensors": 'import pggan_jax as pg\n\nimages = pg.load("{file}").sample(range(16))  # uint8 [{shape}]\n',
    ".html": "# open {file} in any browser",
    ".stablehlo": (
        "import jax.export\nimport numpy as np\n\n"
        'generator = jax.export.deserialize(bytearray(open("{file}", "rb").read()))\n'
        + _LATENTS
        + "images = np.asarray(generator.call(latents{more}))\n"
        + _ROUNDED
    ),
    ".onnx": (
        "import numpy as np\nimport onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("{file}")\n'
        + _LATENTS
        + "inputs = [one.name for one in session.get_inputs()]\n"
        "images = session.run(None, dict(zip(inputs, [latents{more}])))[0]\n" + _ROUNDED
    ),
}
"""Programs that draw the images of seeds 0 to 15 from each kind of file."""
