"""Sound in the report: spectrograms of real and generated clips, and players of their waves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pggan_jax.reporting.run_record import RunRecord
from pggan_jax.reporting.wave_clips import TilePictures, WaveClips, encoded_size, read_clips
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.system.json_files import read_json_object

MOST_PLAYERS, MOST_BYTES = 40, 4_000_000
"""Players on a page, and characters of all their waves."""
_MOST_REALS, _MOST_FAKES = 8, 16
_ABOUT = (
    "Left: magnitudes; time runs to the right, low notes are at the bottom. Right: the same, with hue for the frequency inside "
    "a bin (or the phase): a clean note has one colour per partial."
)


@dataclass(frozen=True)
class _Group:
    """Clips of one kind: `sets` are waves of the same clips, with the word above their players."""

    heading: str
    kind: str
    sets: tuple[tuple[str, WaveClips], ...]
    grid: Path

    @property
    def count(self) -> int:
        return self.sets[0][1].count if self.sets else 0


def sound_section(run: RunRecord, grids: Mapping[int, str]) -> str:
    """Return the section on sound; nothing for a run without wave files.

    Args:
        run: its files.
        grids: names of the sample grids that the report shows, by images seen.
    """
    workdir, length = Workdir(run.folder), run.config.data.sound.samples
    reals = _reals(workdir, length)
    found = {seen: clips for seen in grids if (clips := read_clips(workdir.heard(run.fakes[seen]), length))}
    newest = max(found, default=-1)
    fakes = _Group("", "fake", (), workdir.reals)
    if found:
        fakes = _Group(f"Generated: {grids[newest]}", "fake", (("", found.pop(newest)),), run.fakes[newest])
    if not reals.count and not fakes.count:
        return ""
    affordable = min(MOST_PLAYERS, MOST_BYTES // encoded_size(length))
    real_count = min(reals.count, _MOST_REALS, 2 * affordable // 5 // max(1, len(reals.sets)))
    fake_count = min(fakes.count, _MOST_FAKES, affordable - real_count * len(reals.sets))
    used = real_count * len(reals.sets) + fake_count
    parts = [
        _group(run, reals, real_count),
        _group(run, fakes, fake_count),
        _earlier(
            {grids[seen]: clips for seen, clips in found.items()},
            players=affordable - used,
            size=MOST_BYTES - used * encoded_size(length),
        ),
    ]
    return f'<h2>Sound</h2><p class="soft">{_ABOUT}</p>{"".join(parts)}'


def _reals(workdir: Workdir, length: int) -> _Group:
    """Real clips: as they are, where the run stored that, and through the representation."""
    through, originals = (read_clips(path, length) for path in (workdir.heard(workdir.reals), workdir.originals))
    sets = [("original", originals), ("through its spectrogram", through)]
    if originals and through and originals.count != through.count:
        sets = sets[1:]
    return _Group("Real", "real", tuple((word, clips) for word, clips in sets if clips), workdir.reals)


def _group(run: RunRecord, group: _Group, count: int) -> str:
    if not group.count:
        return ""
    workdir, data = Workdir(run.folder), run.config.data
    frames = data.shape_at(data.resolution)
    pictures = TilePictures(group.grid, workdir.in_colour(group.grid), height=frames.width, width=frames.height)
    names = _class_names(workdir)
    cards: list[str] = []
    for number in range(count):
        title = f"{group.kind} {number}" + (f", class {names[number]}" if number < len(names) else "")
        source = pictures.tile(number)
        picture = f'<img alt="spectrogram of {escape(title)}" src="{source}">' if source else ""
        players = "".join(_player(f"{title} {word}", word, clips.clip(number)) for word, clips in group.sets)
        cards.append(f'<div class="card clip {group.kind}"><h3>{escape(title)}</h3>{picture}{players}</div>')
    more = group.count - count
    rest = f'<p class="soft">and {more} more in {escape(workdir.heard(group.grid).name)}</p>' if more else ""
    return f'<h3 class="kind">{escape(group.heading)}</h3><div class="clips">{"".join(cards)}</div>{rest}'


def _earlier(waves: Mapping[str, WaveClips], *, players: int, size: int) -> str:
    """Whole wave files of lower resolutions, as many as there is room for."""
    left_out = 0
    cards: list[str] = []
    for name, clips in waves.items():
        needed = encoded_size(len(clips.samples))
        if len(cards) >= players or needed > size:
            left_out += 1
            continue
        size -= needed
        title = f"{name}: {clips.count} clips"
        cards.append(f'<div class="card clip fake"><h3>{escape(title)}</h3>{_player(title, "", clips.all_clips())}</div>')
    rest = f'<p class="soft">and {left_out} more in fakes*.wav</p>' if left_out else ""
    return f'<h3 class="kind">Generated earlier</h3><div class="clips">{"".join(cards)}</div>{rest}' if waves else ""


def _player(title: str, word: str, source: str) -> str:
    about = f'<span class="soft">{escape(word)}</span>' if word else ""
    return f'{about}<audio controls preload="none" aria-label="{escape(title)}" src="{source}"></audio>'


def _class_names(workdir: Workdir) -> Sequence[str]:
    """Return the name of the class of each tile; empty without classes or grid.json."""
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        document = read_json_object(workdir.grid)
        return [str(document["class_names"][number]) for row in document["classes"] for number in row]
    return []
