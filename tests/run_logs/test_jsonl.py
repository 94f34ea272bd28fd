"""Lines of stats.jsonl and metric-NAME.jsonl: each is written exactly once."""

from __future__ import annotations

import errno
import json
import math
import os
from unittest import mock

import pytest

from pggan_jax.reporting.run_record import gather
from pggan_jax.run_logs import jsonl
from pggan_jax.run_logs.jsonl import MetricLogs, StatsLog, missing_ticks
from pggan_jax.schedule import Schedule
from tests.helpers.runs import small_config

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class TestStatsLog:
    def test_what_is_not_finite_becomes_null(self, tmp_path):
        log = StatsLog(tmp_path / "stats.jsonl")
        log.append({"images_seen": 1, "loss": math.nan, "eta": math.inf, "alpha": 0.5})
        text = (tmp_path / "stats.jsonl").read_text()
        assert json.loads(text, parse_constant=pytest.fail) == {"images_seen": 1, "loss": None, "eta": None, "alpha": 0.5}

    def test_drops_what_lies_beyond_the_checkpoint(self, tmp_path):
        path = tmp_path / "stats.jsonl"
        path.write_text('{"images_seen": 10}\n{"images_seen": 20}\n{"images_seen": 30}\n5\n{"images_s')
        log = StatsLog(path)
        log.begin_at(20)
        log.append({"images_seen": 40})
        assert [json.loads(line)["images_seen"] for line in path.read_text().splitlines()] == [10, 20, 40]

    def test_silent_hosts_write_nothing(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        log = StatsLog(None)
        log.begin_at(0)
        log.append({"images_seen": 1})
        log.write_rest()
        assert not list(tmp_path.iterdir())


def measured(images_seen, metric="swd", **more):
    return {"metric": metric, "images_seen": images_seen, "while": "training", **more}


def as_lines(*records):
    return "".join(f"{json.dumps(record)}\n" for record in records)


class TestMetricLogs:
    def test_each_metric_has_its_file(self, tmp_path):
        logs = MetricLogs(tmp_path)
        for images_seen in (10, 20):
            for metric in ("swd", "ms_ssim"):
                logs.append({"metric": metric, "images_seen": images_seen, "alpha": math.nan})
        for metric in ("swd", "ms_ssim"):
            expected = as_lines(*({**measured(one, metric), "alpha": None} for one in (10, 20)))
            found = [json.loads(line) for line in (tmp_path / f"metric-{metric}.jsonl").read_text().splitlines()]
            assert found == [json.loads(line) for line in expected.splitlines()]

    def test_drops_what_the_run_measured_beyond_and_leaves_what_evaluate_wrote(self, tmp_path):
        by_evaluate = {"metric": "swd", "images_seen": 30}, {"metric": "swd", "images": "folder"}
        path, other = tmp_path / "metric-swd.jsonl", tmp_path / "metric-of_old_settings.jsonl"
        path.write_text(as_lines(measured(10), by_evaluate[0], measured(20), measured(30), by_evaluate[1]) + '{"metric": "sw')
        other.write_text(as_lines(measured(30, "of_old_settings")))
        logs = MetricLogs(tmp_path)
        logs.begin_at(20)
        assert path.read_text() == as_lines(measured(10), by_evaluate[0], measured(20), by_evaluate[1])
        assert other.read_text() == ""
        logs.append(measured(30))
        assert path.read_text().endswith(as_lines(by_evaluate[1], measured(30)))

    def test_what_evaluate_wrote_is_no_measurement_of_the_run(self, tmp_path):
        """A line that a checkpoint carries is written though the file has one of the same place."""
        path = tmp_path / "metric-swd.jsonl"
        path.write_text(as_lines({"metric": "swd", "images_seen": 20}))
        MetricLogs(tmp_path).begin_at(20, as_lines(measured(20)))
        assert path.read_text() == as_lines({"metric": "swd", "images_seen": 20}, measured(20))

    def test_what_there_is_no_space_for_follows(self, tmp_path):
        logs = MetricLogs(tmp_path)
        with mock.patch.object(jsonl, "append_durably", side_effect=NO_SPACE):
            for images_seen in (10, 20):
                with pytest.raises(OSError, match="No space"):
                    logs.append(measured(images_seen))
        unwritten = logs.unwritten
        logs.append(measured(30))
        logs.write_rest()
        assert (tmp_path / "metric-swd.jsonl").read_text() == as_lines(*map(measured, (10, 20, 30)))
        assert logs.unwritten == ""

        (tmp_path / "metric-swd.jsonl").unlink()
        reported = as_lines({"images_seen": 10}, {"images_seen": 20})
        MetricLogs(tmp_path).begin_at(20, reported + unwritten)
        StatsLog(tmp_path / "stats.jsonl").begin_at(20, reported + unwritten)
        assert (tmp_path / "metric-swd.jsonl").read_text() == as_lines(*map(measured, (10, 20)))
        assert (tmp_path / "stats.jsonl").read_text() == reported

    def test_one_file_that_cannot_be_read_is_not_all(self, tmp_path):
        (tmp_path / "metric-kid.jsonl").mkdir()
        (tmp_path / "metric-swd.jsonl").write_text(as_lines(measured(30)))
        with pytest.raises(OSError, match="metric-kid"):
            MetricLogs(tmp_path).begin_at(20)
        assert (tmp_path / "metric-swd.jsonl").read_text() == ""

    def test_silent_hosts_write_nothing(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        logs = MetricLogs(None)
        logs.begin_at(0, as_lines(measured(0)))
        logs.append(measured(1))
        logs.write_rest()
        assert not list(tmp_path.iterdir())


SCHEDULE = Schedule(small_config(schedule__total_kimg=8.0).schedule, 8)
LINES = [{"tick": tick.index + 1, "images_seen": tick.end, "loss_g": 1.0} for tick in SCHEDULE.ticks]


class TestMissingTicks:
    def test_none_is_lost(self):
        for count in range(len(LINES) + 1):
            seen = LINES[count - 1]["images_seen"] if count else 0
            assert missing_ticks(SCHEDULE.ticks, LINES[:count], images_seen=seen) == 0
            assert missing_ticks(SCHEDULE.ticks, LINES[:count], images_seen=seen + 1) == 0, "stopped within a tick"

    @pytest.mark.parametrize("lost", [{0}, {2, 3}, {len(LINES) - 1}, set(range(len(LINES)))])
    def test_all_missing_lines_count(self, lost):
        there = [line for number, line in enumerate(LINES) if number not in lost]
        assert missing_ticks(SCHEDULE.ticks, there, images_seen=LINES[-1]["images_seen"]) == len(lost)

    def test_ticks_of_an_earlier_schedule_are_not_missing(self):
        """Ticks were twice as long until the fourth line of now."""
        before = [line | {"tick": number + 1} for number, line in enumerate(LINES[1:4:2])]
        assert missing_ticks(SCHEDULE.ticks, before + LINES[4:], images_seen=LINES[-1]["images_seen"]) == 0
        assert missing_ticks(SCHEDULE.ticks, before + LINES[5:], images_seen=LINES[-1]["images_seen"]) == 1

    def test_missing_counts_what_the_file_lacks(self, tmp_path):
        path = tmp_path / "stats.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in LINES if line["tick"] not in (2, 3)))
        log = StatsLog(path)
        log.begin_at(LINES[4]["images_seen"])
        assert log.missing(SCHEDULE.ticks, LINES[4]["images_seen"]) == 2
        assert log.missing(SCHEDULE.ticks, LINES[0]["images_seen"]) == 0
        assert StatsLog(None).missing(SCHEDULE.ticks, 10**6) == 0

    def test_unwritten_lines_are_not_missing(self, tmp_path):
        path = tmp_path / "stats.jsonl"
        path.write_text(json.dumps(LINES[0]) + "\n")
        log = StatsLog(path)
        log.begin_at(LINES[1]["images_seen"], unwritten=json.dumps(LINES[1]) + "\n")
        assert log.missing(SCHEDULE.ticks, LINES[1]["images_seen"]) == 0

    def test_a_pipe_is_refused(self, tmp_path):
        os.mkfifo(tmp_path / "stats.jsonl")
        os.mkfifo(tmp_path / "metric-swd.jsonl")
        os.mkfifo(tmp_path / "fakes000001.png")
        os.mkfifo(tmp_path / "log.txt")
        with pytest.raises(OSError, match="not a file"):
            StatsLog(tmp_path / "stats.jsonl").begin_at(0)
        assert gather(tmp_path, small_config()).ticks == []

    @pytest.mark.parametrize("value", ['"abc"', "null", "[]", "{}", "true", "NaN", "1e999", "-5", "7" * 5000])
    def test_a_line_of_a_wrong_type_is_dropped_and_counted(self, tmp_path, value):
        path = tmp_path / "stats.jsonl"
        lines = [json.dumps(line) for line in LINES[:3]]
        lines[1] = lines[1].replace(f'"images_seen": {LINES[1]["images_seen"]}', f'"images_seen": {value}')
        path.write_text("".join(f"{line}\n" for line in lines))
        log = StatsLog(path)
        log.begin_at(LINES[2]["images_seen"])
        assert path.read_text() == f"{lines[0]}\n{lines[2]}\n"
        assert log.missing(SCHEDULE.ticks, LINES[2]["images_seen"]) == 1

    def test_images_seen_as_a_float_is_accepted(self, tmp_path):
        path = tmp_path / "stats.jsonl"
        text = "".join(json.dumps(line | {"images_seen": float(line["images_seen"])}) + "\n" for line in LINES[:3])
        path.write_text(text)
        log = StatsLog(path)
        log.begin_at(LINES[2]["images_seen"])
        assert path.read_text() == text
        assert log.missing(SCHEDULE.ticks, LINES[2]["images_seen"]) == 0
