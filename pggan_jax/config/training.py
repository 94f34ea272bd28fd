"""Settings of losses and optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from pggan_jax.config.fields import EPSILON, FRACTION, KIMG, WEIGHT, setting

LOSSES = ("wgan_gp", "lsgan", "logistic", "hinge")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam in the official form (spec 2.8) and the generator's moving average (spec 2.9)."""

    beta1: float = setting(0.0, "decay of Adam's first moment; 0 stores none", **FRACTION)
    beta2: float = setting(0.99, "decay of Adam's second moment", **FRACTION)
    epsilon: float = setting(1e-8, "added to the root of Adam's second moment", **EPSILON)
    on_new_phase: str = setting(
        "reset", "Adam's moments when a fade starts or ends: reset (official) or carry", choices=("reset", "carry")
    )
    ema_decay: float = setting(0.999, "decay per step of the generator's moving average", **FRACTION)
    ema_half_life_kimg: float = setting(0.0, "half-life of the generator's moving average in kimg; 0 uses ema_decay", **KIMG)


@dataclass(frozen=True)
class LossConfig:
    """The loss functions (spec 3)."""

    name: str = setting("wgan_gp", "wgan_gp (paper), lsgan (spec 3.6), logistic or hinge", choices=LOSSES)
    gp_weight: float = setting(10.0, "wgan_gp: weight of the gradient penalty", **WEIGHT)
    gp_target: float = setting(1.0, "wgan_gp: target gradient norm; 750 in the CIFAR-10 run", exclusive="minimum", **WEIGHT)
    gp_channel_scale: tuple[float, ...] = setting(
        (),
        "wgan_gp: factors on the image gradient before its norm is taken, one per channel, as 0.066,0.8; empty means 1",
        exclusive="minimum",
        **WEIGHT,
    )
    gradient_norm: str = setting(
        "full_resolution",
        "where wgan_gp measures the gradient norm: full_resolution (official, on upscaled images) or current",
        choices=("full_resolution", "current"),
    )
    drift: float = setting(0.001, "wgan_gp: weight of the squared real scores", **WEIGHT)
    r1_gamma: float = setting(10.0, "logistic and hinge: weight of R1 on reals at the current resolution; 0: none", **WEIGHT)
    label_weight: float = setting(1.0, "weight of the auxiliary classifier when data.labels is on", **WEIGHT)
    label_fakes: bool = setting(True, "train D's auxiliary classifier on generated images too, not on reals alone")
