"""python launch.py arithmetic "mean(1,2,3) - mean(4,5,6) + 7" --out=sum.png

Draw the result of an expression over latents. Numbers are seeds, mean(1,2,3) averages the normalised latents of three of them
(single ones are less stable), and 0.5*mean(1,2,3) scales a term. The sum is normalised again.

Left: the seeds of each term, and below them the image of their mean. Right: the result in the middle of 8 neighbours, whose
latents differ by U(-0.25, 0.25) in each coordinate, as in the DCGAN paper.

Example: python launch.py arithmetic "mean(12,40,77) - mean(3,8,9) + 21" --from=runs/unlabelled --out=sum.png

An expression that begins with a minus needs -- before it: arithmetic -- "-mean(1,2,3) + 7".

In a run with labels the seeds show their own classes, a mean and the result the class of the first seed; --class chooses
another class for the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from pggan_jax.cli.model_flags import (
    chosen_class,
    define_class_flag,
    define_model_flags,
    define_out_flag,
    open_model,
    output_file,
    write_image,
)
from pggan_jax.cli.sheet_size import refuse_large_sheet

if TYPE_CHECKING:
    from pggan_jax.generation.editing.arithmetic import Term
    from pggan_jax.generation.model import Model

ARGUMENTS = ("EXPRESSION",)
FLAGS = flags.FlagValues()
define_model_flags(FLAGS)
define_class_flag(FLAGS)
define_out_flag(FLAGS, "arithmetic.png", "PNG file to write")


def run(values: flags.FlagValues, expression: str) -> None:
    """Write the sheet and print where."""
    from pggan_jax.generation.editing.arithmetic import parse_expression

    terms = parse_expression(expression)
    out = output_file(values, (".png",))
    from pggan_jax.generation.editing.sheets import arithmetic_shape, arithmetic_sheet, tile_shape

    model = open_model(values)
    number = chosen_class(values, model)
    signs = ["-" if term.factor < 0 else "+" for term in terms]
    labels = [f"{sign} {term}" for sign, term in zip(signs, terms, strict=True)]
    labels[0] = labels[0].removeprefix("+ ")
    height, width, _ = model.shape
    images = [len(term.seeds) + term.is_mean for term in terms]
    shape = arithmetic_shape(tile_shape(height, width), labels, images=images)
    refuse_large_sheet(shape, named=expression, advice="write fewer terms")
    operands = [_operand(model, term) for term in terms]
    sheet = arithmetic_sheet(operands, labels, result=_result(model, terms, number))
    write_image(out, sheet, f"--out={out}", holds="generated images")
    print(f"{' '.join(labels)} with {model.name} -> {out}")


def _operand(model: Model, term: Term) -> np.ndarray:
    """Images of the seeds of a term; of a mean, its own image is the last."""
    images = model.sample(term.seeds)
    if not term.is_mean:
        return images
    from pggan_jax.generation.editing.directions import normalized

    # With labels the generator normalises latent and label together, so the length counts.
    latent = normalized(term.latent(model.latent_size)[None])
    mean = model.synthesize(latent, _class_of_first(model, term))
    return np.concatenate([images, mean])


def _result(model: Model, terms: list[Term], number: int | None) -> np.ndarray:
    """The result in the middle of its neighbours, uint8 `[9, height, width, channels]`."""
    from pggan_jax.generation.editing.arithmetic import NEIGHBORS, evaluate, neighbors

    latent = evaluate(terms, model.latent_size)
    around = neighbors(latent)
    middle = NEIGHBORS // 2
    latents = np.concatenate([around[:middle], latent[None], around[middle:]])
    first = _class_of_first(model, terms[0])
    return model.synthesize(latents, first if number is None else number)


def _class_of_first(model: Model, term: Term) -> int | None:
    from pggan_jax.generation.class_names import classes_of_seeds

    return int(classes_of_seeds(term.seeds[:1], model.present_classes)[0]) if model.label_size else None
