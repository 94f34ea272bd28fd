"""TensorBoard on request."""

from __future__ import annotations

import sys

import pytest

from pggan_jax.errors import UserError
from tests.helpers.runs import (
    FIRST_TICK,
    MID_FADE,
    TOTAL,
    digest,
    finished_run,
    run_small,
    small_config,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_a_missing_package_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        UserError, match=r"needs the package tensorboardX, which is not installed; run pip install -r requirements-optional.txt"
    ):
        run_small(tmp_path / "run", small_config(run__tensorboard=True))


def test_every_tick_once_after_a_stop(tmp_path, tmp_path_factory):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    from tensorboardX.proto.event_pb2 import Event

    config = small_config(run__tensorboard=True)
    assert not run_small(tmp_path, config, stop_at=MID_FADE)
    assert run_small(tmp_path, config)
    assert digest(tmp_path) == digest(finished_run(tmp_path_factory.getbasetemp()))
    found = {}
    for path in sorted((tmp_path / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            size = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += 12 + size + 4
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    assert list(found["loss_g"]) == [FIRST_TICK, TOTAL]
    for record in stats(tmp_path):
        assert found["loss_g"][record["images_seen"]] == pytest.approx(record["loss_g"], rel=1e-5)
