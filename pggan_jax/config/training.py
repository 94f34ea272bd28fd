"""Settings of losses and optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from pggan_jax.config.fields import EPSILON, FRACTION, KIMG, WEIGHT, setting

LOSSES = ("wgan_gp", "lsgan", "logistic", "hinge", "rpgan")
PAIRED_LOSSES = ("rpgan",)
"""Losses that compare each generated image with the real one of the same index, in both steps."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam in the official form (spec 2.8) and the generator's moving average (spec 2.9)."""

    beta1: float = setting(0.0, "decay of Adam's first moment; 0 stores none", **FRACTION)
    beta2: float = setting(0.99, "decay of Adam's second moment", **FRACTION)
    epsilon: float = setting(1e-8, "added to the root of Adam's second moment", **EPSILON)
    weight_decay: float = setting(
        0.0, "L2: times each parameter, added to its gradient before Adam's moments; 1e-5 in DCGAN on faces", **WEIGHT
    )
    on_new_phase: str = setting(
        "reset", "Adam's moments when a fade starts or ends: reset (official) or carry", choices=("reset", "carry")
    )
    ema_decay: float = setting(0.999, "decay per step of the generator's moving average", **FRACTION)
    ema_half_life_kimg: float = setting(0.0, "half-life of the generator's moving average in kimg; 0 uses ema_decay", **KIMG)
    freeze_discriminator: int = setting(
        0,
        "FreezeD: so many blocks of D, those nearest the image, keep the weights of run.init_from (for few images)",
        minimum=0,
        maximum=16,
    )


@dataclass(frozen=True)
class LossConfig:
    """The loss functions (spec 3)."""

    name: str = setting(
        "wgan_gp",
        "wgan_gp (paper), lsgan, logistic, hinge, or rpgan (relativistic pairing); see docs/losses.md",
        choices=LOSSES,
    )
    gp_weight: float = setting(10.0, "wgan_gp: weight of the gradient penalty", **WEIGHT)
    gp_target: float = setting(1.0, "wgan_gp: target gradient norm; 750 in the CIFAR-10 run", exclusive="minimum", **WEIGHT)
    gp_channel_scale: tuple[float, ...] = setting(
        (),
        "wgan_gp: factors on the image gradient before its norm is taken, one per channel, as 0.066,0.8; empty means 1",
        exclusive="minimum",
        **WEIGHT,
    )
    drift: float = setting(0.001, "wgan_gp: weight of the squared real scores", **WEIGHT)
    r1_gamma: float = setting(
        10.0, "logistic, hinge and rpgan: weight gamma of R1 and R2, the mean squared image gradients; 0: none", **WEIGHT
    )
    penalize: str = setting(
        "auto",
        "logistic, hinge and rpgan: images whose gradient is penalised: reals (R1), fakes (R2) or both; auto: both for rpgan, "
        "reals for the others",
        choices=("auto", "reals", "fakes", "both"),
    )
    penalty_scale: str = setting(
        "full_resolution",
        "where gradient norms of penalties are measured: on images upscaled to the full resolution, where they are full / "
        "current times smaller, or on those of the current one",
        choices=("full_resolution", "current"),
    )
    label_weight: float = setting(1.0, "weight of the auxiliary classifier when data.labels is on", **WEIGHT)
    label_fakes: bool = setting(True, "train D's auxiliary classifier on generated images too, not on reals alone")

    @property
    def penalizes_reals(self) -> bool:
        """Whether a loss with zero-centred penalties has R1."""
        return self.penalize != "fakes"

    @property
    def penalizes_fakes(self) -> bool:
        """Whether a loss with zero-centred penalties has R2."""
        return self.penalize in ("fakes", "both") or (self.penalize == "auto" and self.name == "rpgan")
