"""Every setting of a run, as frozen dataclasses with type, default, help and limits.

Reading and writing settings (experiment files, `--set`, JSON, differences) is in `config_io.py`; rules between several
settings are in `config_validation.py`. This module imports neither JAX nor anything that reads data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pggan_jax.config_fields import setting
from pggan_jax.images import ImageShape, image_shape, parse_base_shape
from pggan_jax.metric_kinds import METRIC_KINDS
from pggan_jax.sound_config import SoundConfig
from pggan_jax.source_kinds import SOURCE_KINDS

MAX_RESOLUTION = 8192
MAX_KIMG = 2_147_483  # 2^31 images
MAX_IMAGES = 2**31 - 1
MAX_TICKS = 2**31 - 1
MAX_WEIGHT = 10**9
MAX_FLOAT = 1e38  # float32 has no larger power of ten
MAX_WIDTH = 2**16  # feature maps, latents
DTYPES = ("float32", "bfloat16")
SOUND_PRESETS = ("gansynth", "gansynth-low", "deepsound-abslog", "deepsound-reallog", "deepsound-raw")
PRESETS = ("v1-1gpu", "v2-1gpu", "v2-2gpus", "v2-4gpus", "v2-8gpus", *SOUND_PRESETS)
LOSSES = ("wgan_gp", "lsgan", "logistic", "hinge")
RESAMPLES = ("lanczos", "bicubic", "bilinear", "box", "nearest")
_KIMG: dict[str, Any] = {"minimum": 0, "maximum": MAX_KIMG}
_WEIGHT: dict[str, Any] = {"minimum": 0, "maximum": MAX_WEIGHT}
_FRACTION: dict[str, Any] = {"minimum": 0, "maximum": 1, "exclusive": "maximum"}
_RATE: dict[str, Any] = {"minimum": 0, "maximum": MAX_FLOAT, "exclusive": "minimum"}
_EPSILON: dict[str, Any] = {"minimum": 0, "maximum": 1000, "exclusive": "minimum"}
_COUNT: dict[str, Any] = {"minimum": 1, "maximum": MAX_TICKS}
_MICROBATCH: dict[str, Any] = {"minimum": 0, "maximum": 2**16}
_TICK: dict[str, Any] = {"minimum": 1, "maximum": MAX_KIMG}
_FMAP_BASE: dict[str, Any] = {"minimum": 1, "maximum": 2**24}
OFFICIAL_TICKS = {4: 160.0, 8: 140.0, 16: 120.0, 32: 100.0, 64: 80.0, 128: 60.0, 256: 40.0, 512: 20.0, 1024: 10.0}


@dataclass(frozen=True)
class DataConfig:
    """The real images."""

    source: str = setting(
        "digits", "where images come from: " + "; ".join(f"{kind.usage}: {kind.help}" for kind in SOURCE_KINDS.values())
    )
    resolution: int = setting(32, "side of the finished images in pixels, 4*2^k", minimum=4, maximum=MAX_RESOLUTION)
    base_shape: str = setting(
        "4x4",
        "HEIGHTxWIDTH of the first level, for images that are not square. Levels double it, and settings name them as if it "
        "were 4x4: with 3x4, data.resolution=64 makes images of 48x64",
    )
    channels: int = setting(
        0, "colour channels; 0 takes the source's own (1 for digits, 3 for photos, folders and archives)", minimum=0, maximum=16
    )
    labels: bool = setting(False, "train with class labels: concatenated input in G, auxiliary classifier in D")
    mirror: bool = setting(False, "flip each real image left-right with probability 1/2")
    crop: str = setting(
        "center",
        "how images of other shapes are fitted: center takes the largest square in the middle; none refuses them; pad adds "
        "black borders to smaller ones, unscaled; fit keeps the whole of each, shrunk if it is larger, with black borders; "
        "LEFT,TOP,WIDTH,HEIGHT cuts that window first",
    )
    resample: str = setting("lanczos", "filter that shrinks larger images", choices=RESAMPLES)
    modes: str = setting(
        "convert",
        "convert images with other colour channels than data.channels, or refuse (leave out) them",
        choices=("convert", "refuse"),
    )
    range: str = setting(
        "full",
        "values that become black and white with 16 bits: full scales all 65,536; auto the range that the images use, "
        "without 1 pixel in 10,000 at either end; LOW,HIGH that range, as 0,4095 for 12 bits; no effect on 8 bits",
    )
    max_images: int = setting(0, "use at most so many images; 0 uses all", minimum=0, maximum=MAX_IMAGES)
    shuffle_seed: int = setting(
        -1,
        "store images in the order of this seed's permutation (123 in the authors' files); -1 keeps the order of the source",
        minimum=-1,
        maximum=2**32 - 1,
    )
    sound: SoundConfig = field(default_factory=SoundConfig)

    def shape_at(self, resolution: int) -> ImageShape:
        """Height and width of the images of a level."""
        return image_shape(resolution, parse_base_shape(self.base_shape))


@dataclass(frozen=True)
class GeneratorConfig:
    """The generator (spec 1.8); both forms of the official option `structure` compute it."""

    fmap_base: int = setting(8192, "feature maps: min(fmap_base / 2^(stage * fmap_decay), fmap_max)", **_FMAP_BASE)
    fmap_decay: float = setting(1.0, "how fast feature maps halve with resolution", minimum=0, maximum=16)
    fmap_max: int = setting(512, "most feature maps in any layer", minimum=1, maximum=MAX_WIDTH)
    latent_size: int = setting(
        0, "length of the latent vector; 0 takes the feature maps of stage 0 (512 by default)", minimum=0, maximum=MAX_WIDTH
    )
    normalize_latents: bool = setting(True, "scale latent and label vector together to unit mean square")
    use_wscale: bool = setting(True, "equalized learning rate")
    use_pixelnorm: bool = setting(True, "pixelwise feature normalisation after each convolution")
    pixelnorm_epsilon: float = setting(1e-8, "added to the mean square in pixel norm", **_EPSILON)
    use_leakyrelu: bool = setting(True, "leaky ReLU with slope 0.2; false means ReLU")
    fused_scale: bool = setting(True, "upscale and convolve in one transposed convolution; the same function, faster")
    output_activation: str = setting("linear", "what follows the 1x1 convolution to colours", choices=("linear", "tanh"))
    dtype: str = setting("float32", "what activations are computed in; parameters stay float32", choices=DTYPES)


@dataclass(frozen=True)
class StddevGroups:
    """How samples are grouped for minibatch stddev (spec 1.7).

    Attributes:
        form: "strided" (sample n is in group n mod M), "contiguous" (neighbours), "whole_batch" or "none".
        size: samples in a group; a smaller batch is one group.
    """

    form: str
    size: int


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator (spec 1.8)."""

    fmap_base: int = setting(8192, "feature maps: min(fmap_base / 2^(stage * fmap_decay), fmap_max)", **_FMAP_BASE)
    fmap_decay: float = setting(1.0, "how fast feature maps halve with resolution", minimum=0, maximum=16)
    fmap_max: int = setting(512, "most feature maps in any layer", minimum=1, maximum=MAX_WIDTH)
    use_wscale: bool = setting(True, "equalized learning rate")
    minibatch_stddev: str = setting(
        "strided",
        "strided: official groups n, n+M, ...; whole_batch: one group, as in the paper; contiguous: unbiased groups of "
        "neighbours, as in pytorch_GAN_zoo; none: no such channel",
        choices=("strided", "whole_batch", "contiguous", "none"),
    )
    mbstd_group_size: int = setting(4, "samples per minibatch-stddev group, at most the batch", minimum=2, maximum=2**16)
    fused_scale: bool = setting(
        True, "convolve and average in one strided convolution, before the activation: not the same function (spec 1.5)"
    )
    dtype: str = setting("float32", "what activations are computed in; parameters stay float32", choices=DTYPES)

    @property
    def stddev_groups(self) -> StddevGroups:
        """The groups of minibatch stddev."""
        return StddevGroups(self.minibatch_stddev, self.mbstd_group_size)


@dataclass(frozen=True)
class ScheduleConfig:
    """Phases, batches, learning rates. A kimg is 1,000 reals seen by the discriminator."""

    start_resolution: int = setting(
        4, "resolution of the first stage, 4*2^k; data.resolution means no growing", minimum=4, maximum=MAX_RESOLUTION
    )
    stable_kimg: float = setting(600.0, "length of each stable phase", **_KIMG)
    stable_kimg_at: Mapping[int, float] = setting({}, "stable_kimg of single resolutions, as 4:10,8:25", **_KIMG)
    fade_kimg: float = setting(600.0, "length of each fade-in", **_KIMG)
    fade_kimg_at: Mapping[int, float] = setting({}, "fade_kimg of single resolutions, as 8:10,16:25", **_KIMG)
    total_kimg: float = setting(0.0, "length of the run; 0 ends it after the stable phase of the last resolution", **_KIMG)
    batch_size: int = setting(16, "images per step over all devices", minimum=1, maximum=2**16)
    batch_size_at: Mapping[int, int] = setting({}, "batch_size of single resolutions, as 4:128,8:64", minimum=1, maximum=2**16)
    learning_rate: float = setting(0.001, "Adam's step size for both networks", **_RATE)
    learning_rate_at: Mapping[int, float] = setting({}, "learning_rate of single resolutions, as 1024:0.0015", **_RATE)
    rampup_kimg: float = setting(0.0, "warm the learning rate up over the first kimg of the run; 0 means no ramp", **_KIMG)
    critic_steps: int = setting(1, "n_critic: discriminator updates per generator update", minimum=1, maximum=1024)
    repeats: int = setting(
        4, "iterations between two updates of resolution, alpha and learning rate; phases end on one", minimum=1, maximum=2**16
    )
    tick_kimg: float = setting(160.0, "length of a tick: one status line and one sample grid", **_TICK)
    tick_kimg_at: Mapping[int, float] = setting(OFFICIAL_TICKS, "tick_kimg of single resolutions, as 4:20,8:10", **_TICK)

    def batch_size_for(self, resolution: int) -> int:
        """Images per step at `resolution`, over all devices."""
        return self.batch_size_at.get(resolution, self.batch_size)


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam in the official form (spec 2.8) and the generator's moving average (spec 2.9)."""

    beta1: float = setting(0.0, "decay of Adam's first moment; 0 stores none", **_FRACTION)
    beta2: float = setting(0.99, "decay of Adam's second moment", **_FRACTION)
    epsilon: float = setting(1e-8, "added to the root of Adam's second moment", **_EPSILON)
    on_new_phase: str = setting(
        "reset", "Adam's moments when a fade starts or ends: reset (official) or carry", choices=("reset", "carry")
    )
    ema_decay: float = setting(0.999, "decay per step of the generator's moving average", **_FRACTION)
    ema_half_life_kimg: float = setting(0.0, "half-life of the generator's moving average in kimg; 0 uses ema_decay", **_KIMG)


@dataclass(frozen=True)
class LossConfig:
    """The loss functions (spec 3)."""

    name: str = setting("wgan_gp", "wgan_gp (paper), lsgan (spec 3.6), logistic or hinge", choices=LOSSES)
    gp_weight: float = setting(10.0, "wgan_gp: weight of the gradient penalty", **_WEIGHT)
    gp_target: float = setting(1.0, "wgan_gp: target gradient norm; 750 in the CIFAR-10 run", exclusive="minimum", **_WEIGHT)
    gp_channel_scale: tuple[float, ...] = setting(
        (),
        "wgan_gp: factors on the image gradient before its norm is taken, one per channel, as 0.066,0.8; empty means 1",
        exclusive="minimum",
        **_WEIGHT,
    )
    gradient_norm: str = setting(
        "full_resolution",
        "where wgan_gp measures the gradient norm: full_resolution (official, on upscaled images) or current",
        choices=("full_resolution", "current"),
    )
    drift: float = setting(0.001, "wgan_gp: weight of the squared real scores", **_WEIGHT)
    r1_gamma: float = setting(10.0, "logistic and hinge: weight of R1 on reals at the current resolution; 0: none", **_WEIGHT)
    label_weight: float = setting(1.0, "weight of the auxiliary classifier when data.labels is on", **_WEIGHT)
    label_fakes: bool = setting(True, "train D's auxiliary classifier on generated images too, not on reals alone")


@dataclass(frozen=True)
class RunConfig:
    """Seed, memory, checkpoints and logs."""

    seed: int = setting(1000, "seed of weights, noise and data order", minimum=0, maximum=2**32 - 1)
    steps_per_call: int = setting(
        0, "iterations in one call of the compiled program; 0 chooses by backend (1 on a CPU)", minimum=0, maximum=1024
    )
    microbatch: int = setting(
        0,
        "largest microbatch: images that a device processes at once. Their gradients are averaged: the same update up to "
        "rounding, in less memory and more time; 0 takes one microbatch, or the fewest predicted to fit into memory",
        **_MICROBATCH,
    )
    microbatch_at: Mapping[int, int] = setting({}, "microbatch of single resolutions, as 512:2,1024:1", **_MICROBATCH)
    device_data_mb: float = setting(
        -1.0,
        "keep all images of one resolution on each device if they take at most so many MB; 0 streams them; -1 means a "
        "quarter of the memory of a GPU or TPU, and 0 on a CPU",
        minimum=-1,
        maximum=10**9,
    )
    grid: str = setting("1080p", "size of the sample grids: 1080p, 4k, or columns x rows such as 10x10")
    checkpoint_ticks: int = setting(1, "ticks between checkpoints", **_COUNT)
    keep_last: int = setting(3, "how many of the newest checkpoints to keep", **_COUNT)
    keep_every_kimg: float = setting(0.0, "also keep one checkpoint per so many kimg; 0 keeps none", **_KIMG)
    tensorboard: bool = setting(False, "also write the numbers of stats.jsonl for TensorBoard; needs requirements-optional.txt")
    init_from: str = setting(
        "", "start from the weights of another run: its workdir, or WORKDIR@KIMG for one of its checkpoints; empty means fresh"
    )
    patience: int = setting(
        20, "iterations in a row with a skipped update (gradient not finite) that count as divergence", **_COUNT
    )
    max_rollbacks: int = setting(
        3,
        "how often a diverged run continues from its last good checkpoint, with other noise, before it stops",
        minimum=0,
        maximum=MAX_TICKS,
    )

    def microbatch_for(self, resolution: int) -> int:
        """Largest microbatch at `resolution`; 0 leaves it open."""
        return self.microbatch_at.get(resolution, self.microbatch)


@dataclass(frozen=True)
class EvalConfig:
    """Metrics during training; `launch.py evaluate` measures a run afterwards."""

    metrics: tuple[str, ...] = setting(
        (),
        "metrics of the moving average to measure during training; none by default: "
        + "; ".join(f"{name}: {kind.help}" for name, kind in METRIC_KINDS.items() if kind.during_training),
        choices=tuple(name for name, kind in METRIC_KINDS.items() if kind.during_training),
    )
    ticks: int = setting(20, "ticks between two measurements; the last is always measured", **_COUNT)
    num_images: int = setting(1024, "images on each side; fewer where there are fewer reals", minimum=16, maximum=10_000_000)
    best: str = setting(
        "",
        "also keep the best checkpoint by this metric; empty means the first of eval.metrics",
        choices=("", *METRIC_KINDS),
    )
    inception_weights: str = setting("", "file with the Inception weights, for metrics that need them (docs/metrics.md)")

    @property
    def best_by(self) -> str:
        """The metric whose best checkpoint is kept; empty if none is measured."""
        return self.best or next(iter(self.metrics), "")


@dataclass(frozen=True)
class Config:
    """A whole run, as returned by experiment files; `--set` overrides single settings."""

    preset: str = setting("", "published setup to start from; other settings override it", choices=("", *PRESETS))
    data: DataConfig = field(default_factory=DataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
