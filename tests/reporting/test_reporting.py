"""The report: one HTML file with the right numbers, and safe whatever the files of the run hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise, product

import pytest
from PIL import Image

from pggan_jax.reporting import html as page_module
from pggan_jax.reporting.html import render
from pggan_jax.reporting.run_record import gather
from pggan_jax.reporting.svg_charts import HEIGHT, WIDTH, Band, Series, chart, logarithmic_ticks, nice_ticks
from pggan_jax.schedule import Schedule
from pggan_jax.stats_fields import LOOP_FIELDS, PHASES
from tests.helpers.command_line import one_line_error
from tests.helpers.runs import copy_of, finished_run, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Elements, texts and attributes; refuses elements that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "\n".join(self.texts)


@pytest.fixture
def workdir(tmp_path_factory, tmp_path):
    return copy_of(finished_run(tmp_path_factory.getbasetemp()), tmp_path)


def report(launch, workdir):
    status, out, err = launch("report", f"--workdir={workdir}")
    assert (status, err) == (0, "")
    assert f"-> {workdir / 'report.html'}" in out
    return Page((workdir / "report.html").read_text())


TICK_FIELDS = (
    *("kimg", "resolution", "alpha", "loss_g", "loss_d", "real_score", "skipped_steps"),
    *("images_per_second", "seconds_per_tick", "wait_seconds", "metric_swd"),
)
ODD_VALUES = (
    *('"x"', "null", "true", "[1]", "{}", '{"average": {}}', "-1", "NaN", "-Infinity", "1e308", "-1e308", "5e-324", "1e-308"),
    *("1" + "0" * 400, '"\\ud800"', '"<b>"'),
)


def line_with(record, field, value):
    """A line whose `field` is `value`, which is JSON or nearly so."""
    return json.dumps(record | {field: "HERE"}).replace('"HERE"', value) + "\n"


def measured(kimg, average, **changes):
    where = {"label": "swd", "kimg": kimg, "network": "ema", "data": "digits", "seed": 0}
    return where | {"values": {"average": average}} | changes


def write_lines(path, *records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


def assert_drawn_inside(text):
    """Whatever is drawn lies within its chart, left and right, above and below."""
    places = [(float(x), float(y)) for x, y in re.findall(r'cx="([^"]+)" cy="([^"]+)"', text)]
    for points in re.findall(r'points="([^"]+)"', text):
        places += [tuple(map(float, place.split(","))) for place in points.split()]
    assert places
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places), places
    for start, width in re.findall(r'<rect class="\w+" x="([^"]+)" y="[^"]+" width="([^"]+)"', text):
        assert float(start) >= 0
        assert 0 <= float(width) <= WIDTH


class TestPage:
    def test_has_the_numbers_of_the_run(self, launch, workdir):
        page = report(launch, workdir)
        for words in ("kimg of 1.9", "complete", "8x8", "generator.fmap_max = 8", "growing to 8x8", "8x8 fade", "8x8 stable"):
            assert words in page.text, words
        for record in stats(workdir):
            assert f"generator: {record['loss_g']:.5g} at kimg {record['kimg']:g}" in page.texts
        assert page.tags.count("img") == 3, "reals, 4x4 from before the first step, 8x8"

    def test_needs_nothing_else(self, launch, workdir):
        page = report(launch, workdir)
        links = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data", "action")]
        assert links
        assert all(link.startswith("data:image/png;base64,") for link in links)
        assert not {"script", "link", "iframe"} & set(page.tags)
        text = (workdir / "report.html").read_text()
        assert not re.search(r"https?:|url\(|@import", text)

    def test_metrics(self, launch, workdir):
        record = {
            "label": "swd64",
            "kimg": 1.0,
            "values": {"average": 5.5},
            "uncertainty": {"average": 0.5},
            "floor": {"average": 2},
        }
        later = record | {"kimg": 1.9, "values": {"average": 4.25}}
        (workdir / "metric-swd.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (later, record, later)))
        lines = (workdir / "stats.jsonl").read_text().splitlines()
        (workdir / "stats.jsonl").write_text(
            "".join(json.dumps(json.loads(line) | {"metric_fid": 7.5}) + "\n" for line in lines)
        )
        page = report(launch, workdir)
        for words in ("swd64: average", "fakes: 4.25 at kimg 1.9", "reals against reals: 2 at kimg 1", "fid, while training"):
            assert words in page.texts
        assert page.texts.count("fakes: 4.25 at kimg 1.9") == 1

    def test_nothing_is_run_that_files_hold(self, launch, tmp_path, tmp_path_factory):
        evil = "<script>alert(1)</script>"
        workdir = copy_of(finished_run(tmp_path_factory.getbasetemp()), tmp_path, name="<img src=x>")
        with (workdir / "events.jsonl").open("a") as file:
            file.write(json.dumps({"event": "warning", "kimg": 1.0, "message": evil}) + "\n")
        record = {"label": evil, "kimg": 1.0, "values": {evil: 1.0}}
        (workdir / "metric-swd.jsonl").write_text(json.dumps(record) + "\n")
        page = report(launch, workdir)
        assert "script" not in page.tags
        assert f"kimg 1  warning: {evil}" in page.text
        assert "<img src=x>" in page.text

    def test_whatever_is_missing_or_broken(self, launch, workdir):
        with (workdir / "stats.jsonl").open("a") as file:
            file.write('{"kimg": null}\n[1]\nnot json\n{"kimg": 5.0, "loss_g": null, "loss_d": "x"}\n{"kimg": 6, "los')
        (workdir / "reals.png").write_bytes(b"no picture")
        (workdir / "metric-odd.jsonl").write_text('3\n{"kimg": 1}\n{"kimg": 1, "values": {"a": null}}\n')
        page = report(launch, workdir)
        assert page.tags.count("img") == 2
        for name in ("stats.jsonl", "events.jsonl", "log.txt", "reals.png"):
            (workdir / name).unlink()
        for picture in workdir.glob("fakes*.png"):
            picture.unlink()
        assert "No tick is finished yet" in report(launch, workdir).text

    def test_refusals(self, launch, workdir, tmp_path):
        assert "holds no run" in one_line_error(launch("report", f"--workdir={tmp_path}"))
        assert "is a folder; name a file in it" in one_line_error(launch("report", f"--workdir={workdir}", f"--out={tmp_path}"))
        (tmp_path / "file").write_text("")
        message = one_line_error(launch("report", f"--workdir={workdir}", f"--out={tmp_path / 'file' / 'page.html'}"))
        assert "cannot be written" in message


CHROMIUM = shutil.which("chromium")
# It asks nobody for anything; as root it has no sandbox.
QUIETLY = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The file of a page about a run that has been measured, too."""
    folder = copy_of(finished_run(tmp_path_factory.getbasetemp()), tmp_path_factory.mktemp("browser"))
    write_lines(folder / "metric-swd.jsonl", measured(1.0, 5.5, uncertainty={"average": 0.5}), measured(1.9, 4.25))
    path = folder / "page.html"
    path.write_text(render(gather(folder, small_config())))
    return path


@pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium, which is not there")
class TestInBrowser:
    def browse(self, page, tmp_path, *flags):
        words = [CHROMIUM, *QUIETLY, f"--user-data-dir={tmp_path / 'profile'}", *flags, page.as_uri()]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout

    def test_holds_curves_and_images_and_fetches_nothing(self, page, tmp_path):
        seen = self.browse(page, tmp_path, "--dump-dom")
        read = Page(seen)
        assert read.tags.count("svg") == 6, "five of training, one of evaluate"
        assert read.tags.count("polyline") == 8
        assert read.tags.count("polygon") == 1
        assert read.tags.count("img") == 3
        assert read.tags.count("circle") == 7 * len(stats(page.parent)) + 2
        assert "fakes: 4.25 at kimg 1.9" in read.texts
        assert_drawn_inside(seen)
        sources = [value for name, value in read.attributes if name in ("src", "href", "xlink:href", "srcset")]
        assert len(sources) == 3
        assert all(source.startswith("data:image/png;base64,") for source in sources)

    def test_curves_and_images_can_be_seen(self, page, tmp_path):
        picture = tmp_path / "page.png"
        # 1 is the light scheme: colours are looked for.
        flags = ("--blink-settings=preferredColorScheme=1", "--window-size=1200,3000", f"--screenshot={picture}")
        self.browse(page, tmp_path, *flags)
        with Image.open(picture) as image:
            assert image.size == (1200, 3000)
            colours = {colour: count for count, colour in image.convert("RGB").getcolors(maxcolors=1 << 24)}
        for name in ("c0", "c1", "stable", "fade"):
            wanted = re.search(rf"--{name}: #(\w\w)(\w\w)(\w\w);", page.read_text()).groups()
            assert colours.get(tuple(int(part, 16) for part in wanted), 0) > 100, name
        assert colours.get((0, 0, 0), 0) > 1000, "digits are drawn on black"


EXTREMES = [(0, 5e-324), (-1e100, 1e100), (1e16, 1e16 + 2), (-5, -5), (1e-300, 2e-300)]


class TestCurves:
    @pytest.mark.parametrize(
        ("low", "high"), [(0, 1), (-3.2, 7.1), (1e-6, 3e-6), (5, 5), (0, 0), (-1e9, 1e9), (0.97, 1.0), *EXTREMES]
    )
    def test_ticks_are_round_and_cover(self, low, high):
        ticks = nice_ticks(low, high)
        assert ticks[0] <= low
        assert ticks[-1] >= high
        assert 2 <= len(ticks) <= 9
        steps = {f"{b - a:.6g}" for a, b in pairwise(ticks)}
        assert len(steps) == 1

    @pytest.mark.parametrize(
        ("low", "high"), [(10000.25, 10001.5), (0.0001, 0.00013), (0.1, 0.7), (-2.5, 2.5), (0, 12_000), (0, 20_000)]
    )
    def test_labels_tell_ticks_apart_and_are_not_cut(self, low, high):
        drawn = chart("x", [Series("a", [(0, low), (high, high)])], bands=[], end=high)
        places = re.findall(r'<text class="tick" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([-\d.e]+)</text>', drawn)
        left = [text for *_, anchor, text in places if anchor == "end"]
        assert len(set(left)) == len(left) >= 2
        for x, _, anchor, text in places:
            width = 6.5 * len(text)
            start = float(x) - (width if anchor == "end" else width / 2)
            assert 0 <= start <= WIDTH - width, text

    def test_bands_lie_where_their_kimg_are(self):
        bands = [Band(0, 5, "4x4", False), Band(5, 10, "8x8", True), Band(10, 20, "8x8", False)]
        drawn = chart("x", [Series("a", [(0, 1), (20, 2)])], bands=bands, end=20)
        rectangles = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="\d+" width="([\d.]+)"', drawn)
        assert [kind for kind, *_ in rectangles] == ["stable", "fade", "stable"]
        widths = [float(width) for *_, width in rectangles]
        assert widths[0] == pytest.approx(widths[1], abs=0.2)
        assert widths[2] == pytest.approx(2 * widths[0], abs=0.2)
        first, last = re.findall(r'cx="([\d.]+)"', drawn)
        assert float(first) == float(rectangles[0][1])
        assert float(last) == pytest.approx(float(rectangles[2][1]) + widths[2], abs=0.2)


class TestGroups:
    def test_of_equal_kimg_the_newest_line_wins(self, tmp_path):
        write_lines(tmp_path / "metric-x.jsonl", measured(2, 1), measured(1, 2), measured(2.0, 3))
        (group,) = gather(tmp_path, small_config()).metrics
        assert [(one.kimg, one.values["average"]) for one in group.records] == [(1, 2), (2, 3)]

    @pytest.mark.parametrize(
        ("field", "other"),
        [
            ("label", "swd64"),
            ("network", "raw"),
            ("data", "folder:photos"),
            ("seed", 1),
            ("resize", "clean"),
            ("weights", "0123456789abcdef" * 4),
        ],
    )
    def test_what_does_not_compare_is_another_curve(self, tmp_path, field, other):
        write_lines(tmp_path / "metric-swd.jsonl", measured(1, 7), measured(1, 8, **{field: other}), measured(2, 9))
        groups = gather(tmp_path, small_config()).metrics
        assert [[(one.kimg, one.values["average"]) for one in group.records] for group in groups] == [
            [(1, 7), (2, 9)],
            [(1, 8)],
        ]
        page = Page(render(gather(tmp_path, small_config())))
        names = [value for name, value in page.attributes if name == "aria-label"]
        assert len(set(names)) == len(names) == 2, "drawn apart, and named apart"
        assert str(other)[:12] in names[1]
        assert all(part in page.text for name in names for part in name.split("; "))

    def test_titles_say_nothing_twice(self, tmp_path):
        write_lines(
            tmp_path / "metric-fid.jsonl", measured(1, 0, label="fid10k", values={"fid": 3}, weights="0123456789abcdef" * 4)
        )
        page = Page(render(gather(tmp_path, small_config())))
        assert "fid10k" in page.texts
        assert "network ema, data digits, seed 0, weights 0123456789ab" in page.texts

    def test_values_that_only_some_records_have(self, tmp_path):
        write_lines(tmp_path / "metric-swd.jsonl", measured(1, 7, values={"16": 3, "average": 7}), measured(2, 9))
        page = Page(render(gather(tmp_path, small_config())))
        assert "fakes: 3 at kimg 1" in page.texts


class TestOrigins:
    def test_of_metrics_are_distinct(self, tmp_path):
        write_lines(tmp_path / "stats.jsonl", {"kimg": 1.0, "metric_swd": 7.5})
        write_lines(tmp_path / "metric-swd.jsonl", measured(1, 7))
        text = render(gather(tmp_path, small_config()))
        training, evaluate = (text.index(f"<h2>Metrics {how}</h2>") for how in ("while training", "by evaluate"))
        assert training < text.index("swd, while training: 7.5 at kimg 1") < evaluate < text.index("fakes: 7 at kimg 1")
        (tmp_path / "stats.jsonl").unlink()
        assert "Metrics while training" not in render(gather(tmp_path, small_config()))
        write_lines(tmp_path / "stats.jsonl", {"kimg": 1.0, "metric_swd": 7.5})
        (tmp_path / "metric-swd.jsonl").unlink()
        assert "Metrics by evaluate" not in render(gather(tmp_path, small_config()))

    def test_of_other_scalars_is_a_changed_loss(self, tmp_path):
        """What the loop and the built-in losses write is drawn elsewhere, or not at all."""
        known = dict.fromkeys((*LOOP_FIELDS, "loss_g", "loss_d", "real_score", "fake_score", "gradient_penalty"), 1.0)
        write_lines(tmp_path / "stats.jsonl", known)
        assert "Other scalars" not in render(gather(tmp_path, small_config()))
        write_lines(tmp_path / "stats.jsonl", known | {"<script>": 7.5, "words": "no number"})
        page = Page(render(gather(tmp_path, small_config())))
        assert "<script>: 7.5 at kimg 1" in page.texts
        assert "script" not in page.tags
        assert "words" not in page.texts

    def test_of_images_are_their_ticks(self, tmp_path):
        """4x4 ends at kimg 0.496; a tick that grows on the way draws what it ends with."""
        for number in (0, 1):
            Image.new("RGB", (8, 8)).save(tmp_path / f"fakes{number:06d}.png")
        names = {"0": "4x4, kimg 0", "1": "8x8, kimg 1, newest"}
        shown = [value for name, value in Page(render(gather(tmp_path, small_config()))).attributes if name == "alt"]
        assert shown == [names["1"], names["0"]], "by the plan"
        write_lines(tmp_path / "stats.jsonl", {"kimg": 0.6, "resolution": 8}, {"kimg": 1.0, "resolution": 7})
        shown = [value for name, value in Page(render(gather(tmp_path, small_config()))).attributes if name == "alt"]
        assert shown == ["8x8, kimg 1, newest"], "both of 8x8, as far as ticks tell"

    def test_phases_follow_each_other(self, tmp_path):
        write_lines(tmp_path / "stats.jsonl", *({"kimg": kimg, "seconds_per_tick": 1} for kimg in (0.2, 1.0, 1.8)))
        page = Page(render(gather(tmp_path, small_config())))
        spans = re.findall(r"([\d.]+) to ([\d.]+)", page.text)
        assert [span[1] for span in spans[:-1]] == [span[0] for span in spans[1:]]
        assert (spans[0][0], spans[-1][1]) == ("0.0", "1.8")


def ticks_of(config, **changes):
    """Lines of a whole run in which nothing went wrong: 30 minutes a tick, of which 20 were training."""
    return [
        {
            "tick": tick.index + 1,
            "images_seen": tick.end,
            "kimg": tick.end / 1000,
            "seconds_per_tick": 1800.0,
            "images_per_second": 100.0 + tick.index,
            "skipped_steps": 3 + 4 * tick.index,
            **{f"{phase}_seconds": 100.0 for phase in PHASES},
        }
        | changes
        for tick in Schedule(config.schedule, config.data.resolution).ticks
    ]


def facts_of(folder, config):
    """What the head of the page says, by name."""
    text = render(gather(folder, config))
    return {name: value for value, name in re.findall(r"<div><b>([^<]*)</b><span>([^<]*)</span></div>", text)}


def event(name, kimg, message="", **fields):
    return {"event": name, "time": "2026-01-01T00:00:00Z", "kimg": kimg, "message": message, **fields}


class TestEvents:
    def test_are_listed_in_order_without_saves(self, tmp_path):
        events = event("start", 0.0, "8 images"), event("save", 1.0, "saved"), event("growth", 1.5, "growing to 8x8")
        write_lines(tmp_path / "events.jsonl", *events)
        text = Page(render(gather(tmp_path, small_config()))).text
        assert "2026-01-01T00:00:00Z  kimg 0  start: 8 images\n2026-01-01T00:00:00Z  kimg 1.5  growth: growing to 8x8" in text
        assert "earlier version" not in text.lower()
        assert "saved" not in text

    def test_of_an_earlier_version_are_the_lines_of_its_log(self, tmp_path):
        (tmp_path / "log.txt").write_text("growing to 8x8\n")
        text = Page(render(gather(tmp_path, small_config()))).text
        assert "No events.jsonl" in text
        assert "growing to 8x8" in text
        write_lines(tmp_path / "events.jsonl", event("resume", 1.0, "continued by a later version"))
        text = Page(render(gather(tmp_path, small_config()))).text
        assert "is in log.txt" in text
        assert "growing to 8x8" not in text

    @pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: value[:20])
    def test_odd_values(self, tmp_path, value):
        for field in ("event", "time", "kimg", "message"):
            write_lines(tmp_path / "events.jsonl", event("start", 0.0), event("growth", 1.5, "growing to 8x8"))
            with (tmp_path / "events.jsonl").open("a") as file:
                file.write(line_with(event("stop", 2.0, "stopped"), field, value))
            assert "growth: growing to 8x8" in Page(render(gather(tmp_path, small_config()))).text


class TestFacts:
    CONFIG = small_config(schedule__total_kimg=8.0)

    def test_of_a_finished_run(self, tmp_path):
        ticks = ticks_of(self.CONFIG)
        write_lines(tmp_path / "stats.jsonl", *ticks)
        facts = facts_of(tmp_path, self.CONFIG)
        assert facts["state"] == "complete"
        assert len(ticks) == 8
        assert facts["training time"] == "4h 00m", "half an hour for each tick, the first included"
        assert facts["images/s, last tick"] == "107"
        assert facts["skipped updates"] == "31", "the last line counts from the start of the run"
        assert "lacks" not in render(gather(tmp_path, self.CONFIG))

    @pytest.mark.parametrize(("seconds", "state"), [(599.0, "not complete"), (600.0, "complete")])
    def test_of_a_run_that_time_ends(self, tmp_path, seconds, state):
        config = small_config(schedule__total_kimg=8.0, schedule__total_minutes=10.0)
        write_lines(tmp_path / "stats.jsonl", *ticks_of(config, training_seconds=seconds)[:3])
        assert facts_of(tmp_path, config)["state"] == state

    def test_one_tick_before_the_end_it_is_not_complete(self, tmp_path):
        write_lines(tmp_path / "stats.jsonl", *ticks_of(self.CONFIG)[:-1])
        assert facts_of(tmp_path, self.CONFIG)["state"] == "not complete"

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (0.25, "0.2 s"),
            (59.9, "59.9 s"),
            (60, "1m 00s"),
            (3599, "59m 59s"),
            (3600, "1h 00m"),
            (4500, "1h 15m"),
            (200_000, "2d 7h"),
        ],
    )
    def test_no_part_of_a_duration_exceeds_its_unit(self, tmp_path, seconds, words):
        write_lines(tmp_path / "stats.jsonl", {"kimg": 1.0, "seconds_per_tick": seconds})
        assert facts_of(tmp_path, self.CONFIG)["training time"] == words

    def test_every_phase_of_stats_jsonl_has_a_column(self, tmp_path):
        write_lines(tmp_path / "stats.jsonl", *ticks_of(self.CONFIG))
        table = Page(
            render(gather(tmp_path, self.CONFIG)).partition("<h2>Timeline</h2>")[2].partition("</table>")[0] + "</table></div>"
        )
        rows = "".join(table.texts)
        assert {name for name, _ in page_module._PHASES} == set(PHASES)
        assert "growing" in table.texts
        assert rows.count("5.6%") == rows.count("%") == len(PHASES) * (table.tags.count("tr") - 1)

    @pytest.mark.parametrize("lost", [[0], [3], [2, 5], [7], [0, 1, 2, 3, 4, 5, 6, 7]])
    def test_lost_lines_are_counted(self, tmp_path, lost):
        """Whichever; of the last ones the newest checkpoint tells."""
        ticks = ticks_of(self.CONFIG)
        write_lines(tmp_path / "stats.jsonl", *(tick for tick in ticks if tick["tick"] - 1 not in lost))
        (tmp_path / "checkpoints" / str(ticks[-1]["images_seen"])).mkdir(parents=True)
        assert f"lacks the lines of {len(lost)} finished ticks" in render(gather(tmp_path, self.CONFIG))
        assert facts_of(tmp_path, self.CONFIG)["state"] == "complete"


class TestDamage:
    def test_metrics_without_ticks(self, tmp_path):
        write_lines(tmp_path / "metric-swd.jsonl", measured(984.0, 7), measured(492.0, 7))
        text = render(gather(tmp_path, small_config()))
        assert "No tick is finished yet" in text
        assert_drawn_inside(text)

    def test_metric_beyond_the_last_tick(self, tmp_path):
        write_lines(tmp_path / "stats.jsonl", {"kimg": 1.0, "loss_g": 2.0})
        write_lines(tmp_path / "metric-swd.jsonl", measured(1.9, 7))
        assert_drawn_inside(render(gather(tmp_path, small_config())))

    @pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: value[:20])
    def test_odd_value_in_a_tick(self, tmp_path, value):
        tick = dict.fromkeys(TICK_FIELDS, 1.0)
        for field in TICK_FIELDS:
            write_lines(tmp_path / "stats.jsonl", tick, tick | {"kimg": 1.5, "loss_g": 3.0})
            with (tmp_path / "stats.jsonl").open("a") as file:
                file.write(line_with(tick, field, value))
            text = render(gather(tmp_path, small_config()))
            assert "generator: 3 at kimg 1.5" in text, "the others are drawn all the same"
            assert "None" not in Page(text).text.split("Settings")[0], field
            assert_drawn_inside(text)

    @pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: value[:20])
    def test_odd_value_in_a_metric(self, tmp_path, value):
        whole = measured(1.5, 7, uncertainty={"average": 0.5}, floor={"average": 2})
        for field, form in product(("kimg", "label", "seed", "values", "uncertainty", "floor"), ("{}", '{{"average": {}}}')):
            write_lines(tmp_path / "metric-swd.jsonl", whole)
            with (tmp_path / "metric-swd.jsonl").open("a") as file:
                file.write(line_with(measured(1.6, 8), field, form.format(value)))
            text = render(gather(tmp_path, small_config()))
            assert text.encode()
            assert "fakes: 7 at kimg 1.5" in text, field
            assert_drawn_inside(text)

    def test_lines_that_no_parser_takes(self, tmp_path):
        deep, long = "[" * 100_000, f'{{"kimg": {"1" * 5000}}}'
        for name in ("stats.jsonl", "metric-swd.jsonl"):
            (tmp_path / name).write_bytes(f"{deep}\n{long}\n\0\n".encode() + b"\xff\n")
        assert "No tick is finished yet" in render(gather(tmp_path, small_config()))


@pytest.mark.parametrize(("low", "high"), [(0.03, 0.04), (3.0, 900.0), (1.0, 10.0), (5.0, 5.0), (1e-7, 1e6)])
def test_logarithmic_ticks_cover_their_range(low, high):
    ticks = logarithmic_ticks(low, high)
    assert ticks[0] <= low * (1 + 1e-9)
    assert ticks[-1] >= high * (1 - 1e-9)
    assert 2 <= len(ticks) <= 16
    assert ticks == sorted(set(ticks))


def test_a_logarithmic_chart_spaces_factors_evenly_and_needs_positive_values():
    def heights(values):
        text = chart("t", [Series("one", list(enumerate(values)))], bands=[], end=3, unit="minutes", is_logarithmic=True)
        assert ">minutes</text>" in text
        return [float(found) for found in re.findall(r'cy="([\d.]+)"', text)]

    first, second, third = heights([1.0, 10.0, 100.0])
    assert first - second == pytest.approx(second - third, abs=0.2)
    first, second, third = heights([-1.0, 0.0, 1.0])
    assert first - second == pytest.approx(second - third, abs=0.2)
