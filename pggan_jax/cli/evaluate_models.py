"""Measure runs and model files, for `evaluate`."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from pggan_jax.cli.evaluate_output import kimg_name, report_results, writable
from pggan_jax.cli.evaluate_sources import (
    data_config_of,
    describe_reals,
    fitting,
    name_flag_in_errors,
    open_held_out,
    recorded_scale,
)
from pggan_jax.cli.shared_flags import existing_run, flag_value
from pggan_jax.errors import UserError
from pggan_jax.metric_kinds import METRIC_KINDS

if TYPE_CHECKING:
    from pggan_jax.checkpointing.trained_model import TrainedModel
    from pggan_jax.config import Config, DataConfig
    from pggan_jax.data.loader import Loader
    from pggan_jax.evaluation.evaluator import Evaluator
    from pggan_jax.generation.sampling import Sampler
    from pggan_jax.sound.representations import Representation


def evaluate_model(values: flags.FlagValues) -> int:
    """Print a table for a model file, or each checkpoint of a run; 1 if one is damaged.

    Raises:
        UserError: there is no such model, or it does not fit the data.
    """
    from pggan_jax.checkpointing.open_model import is_model_file

    if is_model_file(flag_value(values, "workdir")):
        return _evaluate_file(values)
    return _evaluate_run(values)


def _evaluate_file(values: flags.FlagValues) -> int:
    """Measure a model file; one of another program knows no training images."""
    from pggan_jax.checkpointing.open_model import open_model_file

    source, data_source, out = (flag_value(values, name) for name in ("workdir", "data", "out"))
    trained, origin = open_model_file(source, checkpoint=flag_value(values, "checkpoint"), named="--from=")
    if data_source is None and origin.is_foreign:
        raise UserError(f"--from={source}: comes from {origin.program}; add --data=SOURCE, the images to compare with")
    out = None if out is None else writable(out, *trained.config.data.sources, *named_sources(values))
    measure = _open_data(values, trained.config, trained.representation, out)
    measure(trained, names=flag_value(values, "metrics"))
    return 0


def _evaluate_run(values: flags.FlagValues) -> int:
    workdir = existing_run(flag_value(values, "workdir"))
    from pggan_jax.checkpointing.trained_model import choose_checkpoints, open_checkpoints, read_all, read_chosen

    config, checkpoints = open_checkpoints(workdir)
    with closing(checkpoints):
        out = flag_value(values, "out")
        out = workdir if out is None else writable(out, *config.data.sources, *named_sources(values))
        chosen, metrics = choose_checkpoints(flag_value(values, "checkpoint"), checkpoints), flag_value(values, "metrics")
        with name_flag_in_errors(_flag_of_data(values)):
            scale = recorded_scale(checkpoints)
        measure = _open_data(values, config, scale, out)
        if flag_value(values, "checkpoint") != "all":
            measure(read_chosen(config, checkpoints, checkpoint=flag_value(values, "checkpoint")), names=metrics)
            return 0
        passed_over: list[UserError] = []

        def pass_over(_images_seen: int, error: UserError) -> None:
            passed_over.append(error)
            print(f"{_kind(error)}: {error}", file=sys.stderr)

        count = 0
        for trained in read_all(config, checkpoints, on_skip=pass_over):
            measure(trained, names=fitting(metrics, trained.shape) if len(chosen) > 1 else metrics)
            count += 1
    if not count:
        raise UserError(f"--checkpoint=all: none of {len(passed_over)} checkpoints could be read; see the lines above")
    return int(any(_kind(error) == "error" for error in passed_over))


def _flag_of_data(values: flags.FlagValues) -> str:
    """The flag that names the reals, for messages."""
    from pggan_jax.checkpointing.open_model import is_model_file

    data, source = flag_value(values, "data"), flag_value(values, "workdir")
    return f"--data={data}" if data is not None else f"--{'from' if is_model_file(source) else 'workdir'}={source}"


def _open_data(values: flags.FlagValues, config: Config, scale: Representation | None, out: Path | None) -> _ModelEvaluator:
    """Open the reals, and those held out."""
    from pggan_jax.evaluation.image_sets import open_reals, without_unused

    metrics = flag_value(values, "metrics")
    data = data_config_of(flag_value(values, "data"), config.data)
    with name_flag_in_errors(_flag_of_data(values)):
        read = without_unused(data, metrics, replaced=flag_value(values, "held_out") is not None)
        loader = open_reals(read, seed=config.run.seed, scale=scale, is_own=data == config.data)
    held_out = open_held_out(flag_value(values, "held_out"), data, like=loader)
    return _ModelEvaluator(values, data, loader, held_out, out)


def _kind(error: UserError) -> str:
    from pggan_jax.checkpointing.trained_model import CheckpointRemovedError

    return "note" if isinstance(error, CheckpointRemovedError) else "error"


class _ModelEvaluator:
    """Measure models; statistics of reals and compiled generators are kept."""

    def __init__(
        self,
        values: flags.FlagValues,
        data: DataConfig,
        loader: Loader,
        held_out: tuple[str, Loader] | None,
        out: Path | None,
    ):
        self._values, self._data, self._loader, self._held_out, self._out = values, data, loader, held_out, out
        self._tools: dict[int, tuple[Evaluator, Sampler]] = {}

    def __call__(self, trained: TrainedModel, *, names: list[str]) -> None:
        """Print a table and write the records."""
        if not names:
            return
        from pggan_jax.checkpointing.open_model import model_of
        from pggan_jax.evaluation.image_sets import generated_images, use_classes_of

        values, metadata = self._values, trained.metadata
        model = model_of(trained, name=flag_value(values, "workdir"), network=flag_value(values, "network"))
        use_classes_of(model, self._loader, named=f"--data={self._data.source}")
        resolution = model.resolution
        if resolution not in self._tools:
            evaluator = make_evaluator(values, names, self._data, self._loader, self._held_out, resolution)
            self._tools[resolution] = evaluator, model.sampler
        evaluator, sampler = self._tools[resolution]
        fakes = generated_images(
            sampler,
            model.generator,
            classes=evaluator.classes(),
            alpha=model.alpha,
            seed=flag_value(values, "seed"),
            count=evaluator.max_fakes,
        )
        where = {
            "kimg": model.kimg,
            "images_seen": metadata.images_seen,
            "resolution": resolution,
            "alpha": model.alpha,
            "network": flag_value(values, "network"),
            "data": self._data.source,
        }
        reals = describe_reals(self._data.source, self._loader)
        print(f"kimg {where['kimg']:g}, {trained.shape}, alpha {model.alpha:.3g}; reals: {reals}")
        report_results(evaluator(fakes, model=model), self._out, where=where, name=kimg_name(metadata.images_seen))


def make_evaluator(
    values: flags.FlagValues,
    names: list[str],
    data: DataConfig,
    loader: Loader,
    held_out: tuple[str, Loader] | None,
    resolution: int,
) -> Evaluator:
    """Return what measures images of a resolution by the metrics that flags name.

    Args:
        values: the flags of `evaluate`.
        names: of the metrics.
        data: settings of the reals.
        loader: the reals.
        held_out: name and images of --held_out; None for those that the run has held out, if any.
        resolution: of the images.
    """
    from pggan_jax.evaluation.evaluator import Evaluator
    from pggan_jax.evaluation.image_sets import RealPool, held_out_pool
    from pggan_jax.evaluation.inception.features import load_extractor
    from pggan_jax.evaluation.metric import MetricContext

    seed, path, resize = (flag_value(values, name) for name in ("seed", "inception_weights", "resize"))
    needing = [name for name in names if name in METRIC_KINDS and METRIC_KINDS[name].needs_inception]
    reals = RealPool(loader, resolution, seed, mirror=data.mirror)
    own = held_out_pool(reals, data)
    context = MetricContext(
        reals,
        data,
        held_out=RealPool(held_out[1], resolution, seed, name=held_out[0]) if held_out else own,
        load_extractor=partial(load_extractor, path, resize, needed_by=f"--metrics={','.join(needing[:1])}"),
    )
    return Evaluator(names, context, num_images=flag_value(values, "num_images"), with_floor=flag_value(values, "floor"))


def named_sources(values: flags.FlagValues) -> list[str]:
    """Return the sources that flags name."""
    return [flag_value(values, name) for name in ("data", "held_out") if flag_value(values, name)]
