"""Audio files: formats by content, decoding, damage."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sounds.audio_files import detect_audio, not_audio_reason, open_audio, require_soundfile
from pggan_jax.errors import UserError
from tests.helpers.audio_samples import raw_wav

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "sound_reference_values.json").read_text())


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt ", "WAV"),
        (b"RIFX\x24\0\0\0WAVEfmt ", "WAV"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "WAV"),
        (b"riff\x2e\x91\xcf\x11\xa5\xd6", "WAV"),
        (b"RIFF\x24\0\0\0AVI LIST", "AVI"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "WEBP"),
        (b"FORM\0\0\0\x10AIFFCOMM", "AIFF"),
        (b"FORM\0\0\0\x10AIFCFVER", "AIFF"),
        (b"FORM\0\0\0\x10ILBMBMHD", ""),
        (b"fLaC\0\0\0\x22", "FLAC"),
        (b"OggS\0\2", "OGG"),
        (b"ID3\3\0", "MP3"),
        (b"\xff\xfb\x90\x64", "MP3"),
        (b"\xff\xf3\x40\xc4", "MP3"),
        (b"\xff\xf1\x50\x80", "AAC"),
        (b"\xff\xfe\x41\x00", ""),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b".snd\0\0\0\x18", "AU"),
        (b"caff\0\1", "CAF"),
        (b"\0\0\0\x20ftypM4A ", "MP4 or M4A"),
        (b"MThd\0\0\0\6", "MIDI"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"hello, I am a text", "a text"),
        (b"PK\3\4", "a zip archive"),
        (b"", ""),
    ],
)
def test_kinds_by_content(head, kind):
    assert detect_audio(head) == kind


def test_reasons_name_the_kind_and_a_remedy():
    assert not_audio_reason("AAC").startswith("is AAC, which is not supported (only WAV, FLAC,")
    assert not_audio_reason("a text") == "is a text, not sound; remove it or save it as WAV or FLAC"
    assert not_audio_reason("JPEG").startswith("is a JPEG file, not sound")
    assert "render it" in not_audio_reason("MIDI")


def test_the_library_that_decodes_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UserError, match=r"^data.source = 'sound:x': needs the package soundfile.* run pip install soundfile$"):
        require_soundfile("data.source = 'sound:x'")


def decode(content):
    with open_audio(io.BytesIO(content)) as audio:
        return audio.read(0, 10**6), audio


def reason(content):
    with pytest.raises(UnusableImageError) as caught:
        decode(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
class TestDecoding:
    @pytest.fixture(autouse=True)
    def _library(self):
        self.soundfile = pytest.importorskip("soundfile")

    def encoded(self, wave, kind, subtype=None, rate=8000):
        file = io.BytesIO()
        self.soundfile.write(file, wave, rate, format=kind, subtype=subtype)
        return file.getvalue()

    @pytest.mark.parametrize("case", GOLDEN["pcm"]["cases"])
    def test_samples_are_scaled_by_their_type(self, case):
        kind, value = case.split()
        bits = int(kind.removeprefix("uint").removeprefix("int"))
        raw = int(value).to_bytes(bits // 8, "little", signed=not kind.startswith("u"))
        samples, _ = decode(raw_wav(raw * 8, bits=bits))
        assert samples.shape == (8, 1)
        assert np.array_equal(samples, np.full((8, 1), GOLDEN["pcm"]["cases"][case]))

    @pytest.mark.parametrize("bits", [32, 64])
    def test_floats_are_kept_as_they_are(self, bits):
        values = np.array([0.1, -1.5, 3.0, 1e-30], f"<f{bits // 8}")
        samples, audio = decode(raw_wav(values.tobytes(), bits=bits, code=3))
        assert np.array_equal(samples[:, 0], values.astype(np.float64))
        assert audio.encoding == ("WAV FLOAT" if bits == 32 else "WAV DOUBLE")

    @pytest.mark.parametrize(
        ("kind", "subtype", "error"),
        [
            ("FLAC", "PCM_16", 1e-4),
            ("AIFF", "PCM_24", 1e-6),
            ("AU", "PCM_16", 1e-4),
            ("CAF", "FLOAT", 1e-7),
            ("W64", "PCM_16", 1e-4),
            ("RF64", "PCM_16", 1e-4),
            ("OGG", "VORBIS", 0.1),
        ],
    )
    def test_every_format(self, kind, subtype, error):
        wave = 0.5 * np.sin(np.arange(4000) * 0.1)
        samples, audio = decode(self.encoded(wave, kind, subtype))
        assert (audio.rate, audio.channels, audio.frames, audio.is_truncated) == (8000, 1, 4000, False)
        assert np.abs(samples[:, 0] - wave).max() < error

    def test_mp3(self):
        wave = 0.5 * np.sin(np.arange(16_000) * 0.1)
        samples, audio = decode(self.encoded(wave, "MP3", "MPEG_LAYER_III", 16_000))
        assert audio.encoding.startswith("MP3")
        assert abs(len(samples) - 16_000) < 3000

    def test_mp3_of_an_older_library(self, monkeypatch):
        monkeypatch.setattr(self.soundfile, "available_formats", lambda: {"WAV": ""})
        monkeypatch.setattr(self.soundfile, "__libsndfile_version__", "1.0.31")
        assert reason(b"\xff\xfb\x90\x64" + bytes(20)).startswith("is MP3, which this libsndfile (1.0.31) does not read")

    @pytest.mark.parametrize("start", [0, 17, 3990])
    def test_parts(self, start):
        wave = np.random.default_rng(0).uniform(-1, 1, (4000, 2))
        content = self.encoded(wave, "WAV", "DOUBLE")
        with open_audio(io.BytesIO(content)) as audio:
            assert np.array_equal(audio.read(start, 100), wave[start : start + 100])
            assert np.array_equal(audio.read(0, 5), wave[:5])
            assert audio.read(4000, 5).shape == (0, 2)

    @pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16")])
    def test_a_truncated_file_is_used_as_far_as_it_goes(self, kind, subtype):
        wave = np.random.default_rng(0).uniform(-1, 1, 30_000)
        content = self.encoded(wave, kind, subtype)
        samples, audio = decode(content[: len(content) // 2])
        assert audio.is_truncated
        assert 5000 < len(samples) < 16_000
        assert np.abs(samples[:, 0] - wave[: len(samples)]).max() < 1e-4
        assert not decode(content)[1].is_truncated

    def test_streamed_wav_without_sizes(self):
        content = bytearray(raw_wav(bytes(range(200))))
        content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
        samples, audio = decode(bytes(content))
        assert (len(samples), audio.is_truncated) == (100, False)

    def test_what_is_not_sound(self):
        assert reason(b"").startswith("is empty")
        assert reason(b"just a text, named .wav").startswith("is a text, not sound")
        assert reason(bytes(100)) == "is not sound; remove it or save it as WAV or FLAC"
        assert reason(raw_wav(b"")).startswith("holds no samples")
        assert reason(raw_wav(b"1234", bits=16, code=0x7777)).startswith("is a damaged WAV file (")
        assert reason(b"RIFF\x24\0\0\0WAVEf").startswith("is a damaged WAV file (")
        assert reason(b"fLaC" + bytes(50)).startswith("is a damaged FLAC file (")

    def test_no_bytes_of_other_kinds_reach_the_library(self, monkeypatch):
        monkeypatch.setattr(self.soundfile, "SoundFile", None)
        assert "not sound" in reason(b"PVF1\n1 8000 16\n" + bytes(100))
        assert "not sound" in reason(b"Creative Voice File\x1a" + bytes(100))


def scipy_files():
    from scipy.io import tests

    return sorted((Path(tests.__file__).parent / "data").glob("*.wav"))


USED_BY_SCIPY = {
    "test-44100Hz-le-1ch-4bytes-early-eof-no-data": "is a damaged WAV file",
    "test-44100Hz-le-1ch-4bytes-incomplete-chunk": "is a damaged WAV file",
    "test-8000Hz-le-3ch-5S-36bit": "is WAV with an encoding",
    "test-8000Hz-le-3ch-5S-45bit": "is WAV with an encoding",
    "test-8000Hz-le-3ch-5S-53bit": "is WAV with an encoding",
    "test-8000Hz-le-3ch-5S-64bit": "is WAV with an encoding",
}


@pytest.mark.slow
def test_every_file_of_scipy_gives_samples_or_a_reason():
    pytest.importorskip("soundfile")
    files = scipy_files()
    if not files:
        pytest.skip("this SciPy has no test files")
    assert len(files) >= 20
    for path in files:
        if path.stem in USED_BY_SCIPY:
            assert reason(path.read_bytes()).startswith(USED_BY_SCIPY[path.stem])
            continue
        samples, audio = decode(path.read_bytes())
        name = path.stem.split("-")
        assert audio.rate == int(name[1].removesuffix("Hz"))
        assert f"{audio.channels}ch" in name
        assert len(samples) == audio.frames > 0
        assert np.isfinite(samples).all()
        assert audio.is_truncated == ("eof" in name)
