"""Notes of tensorflow_datasets: a small data set with the features of NSynth, written here without TensorFlow."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pggan_jax.config.sound import SoundConfig
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sounds.open_waves import open_sound
from pggan_jax.errors import UserError
from tests.helpers.audio_samples import tone

tfds = pytest.importorskip("tensorflow_datasets")
kinds = tfds.features

CONFIG = SoundConfig(sample_rate=16_000, frames=64, n_fft=256, hop=128)
NOTES = [(60, 0, 0), (24, 1, 0), (84, 0, 2), (60, 1, 1)]


def prepare(data_dir, name, features, examples, rate=0):
    class ListBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=kinds.FeaturesDict(features), disable_shuffling=True)

        def _split_generators(self, _manager):
            return {"train": enumerate(examples)}

        def _generate_examples(self):
            raise NotImplementedError

    ListBuilder.name = name
    ListBuilder(data_dir=data_dir, file_format="array_record").download_and_prepare()
    # As the class Audio writes it, which itself needs TensorFlow.
    description = data_dir / name / "1.0.0" / "features.json"
    document = json.loads(description.read_text())
    for feature in document["featuresDict"]["features"].values():
        if feature["pythonClassName"].endswith(".Tensor"):
            content = feature.pop("tensor") | ({"sampleRate": str(rate)} if rate else {})
            feature["pythonClassName"] = "tensorflow_datasets.core.features.audio_feature.Audio"
            feature["audio"] = content | {"encoding": "NONE"}
    description.write_text(json.dumps(document))


def example(index):
    pitch, family, source = NOTES[index]
    wave = tone(16_000, frequency=200.0 * (index + 1), rate=16_000).astype(np.float32)
    return {"audio": wave, "pitch": pitch, "instrument": {"family": family, "source": source}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    features = {
        "audio": kinds.Tensor(shape=(16_000,), dtype=np.float32),
        "pitch": kinds.ClassLabel(num_classes=128),
        "instrument": {
            "family": kinds.ClassLabel(names=["bass", "flute"]),
            "source": kinds.ClassLabel(names=["acoustic", "electronic", "synthetic"]),
        },
    }
    prepare(folder, "notes_like", features, [example(index) for index in range(4)])
    prepare(folder, "gansynth_subset", features, [example(index) for index in range(4)])
    prepare(folder, "texts", {"text": kinds.Text()}, [{"text": "hello"}])
    prepare(
        folder, "speech", {"audio": kinds.Tensor(shape=(None,), dtype=np.int64)}, [{"audio": np.arange(9000) % 256 * 9}], 8000
    )
    return folder


@pytest.fixture(autouse=True)
def data_dir(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))


def waves_of(name, **settings):
    return open_sound(f"tfds:{name}", replace(CONFIG, **settings)).waves


def refusal(name, **settings):
    with pytest.raises(UserError) as caught:
        waves_of(name, **settings)
    return str(caught.value)


def by_class(source):
    return [source.class_names[source.label(index)] for index in range(len(source))]


def test_waves_and_pitches():
    source = waves_of("notes_like")
    assert (len(source), source.name, source.item_name(2)) == (4, "sound:tfds:notes_like", "record 2")
    assert len(source.class_names) == 128
    assert by_class(source) == ["60", "24", "84", "60"]
    assert np.array_equal(source.read(1), example(1)["audio"][: CONFIG.samples].astype(np.float64))
    assert source.examine(0).rate == 16_000


def test_the_subset_of_the_paper_has_61_pitches():
    source = waves_of("gansynth_subset:train[:2]")
    assert source.class_names == tuple(map(str, range(24, 85)))
    assert by_class(source) == ["60", "24"]


def test_families_and_no_classes():
    assert by_class(waves_of("notes_like", label_by="family")) == ["bass", "flute", "bass", "flute"]
    assert waves_of("notes_like", label_by="none").class_names == ()


def test_filters_keep_classes_that_occur():
    source = waves_of("notes_like", pitches="30-90", instrument_sources="acoustic,electronic")
    assert source.class_names == ("60",)
    assert [source.item_name(index) for index in range(len(source))] == ["record 0", "record 3"]
    assert source.notes == ("sound.pitches=30-90 with sound.instrument_sources=acoustic,electronic keeps 2 of 4 notes",)
    assert np.array_equal(source.read(1), waves_of("notes_like").read(3))
    assert "keeps none of 4 notes" in refusal("notes_like", pitches="1")


def test_whole_numbers_and_another_rate():
    source = waves_of("speech", sample_rate=8000)
    assert source.class_names == ()
    assert source.examine(0).rate == 8000
    assert np.abs(source.read(0)).max() < 0.1


def test_fingerprints_differ_by_settings():
    prints = [
        waves_of("notes_like").fingerprint(),
        waves_of("notes_like", pitches="60").fingerprint(),
        waves_of("notes_like", level="peak").fingerprint(),
        waves_of("notes_like:train[:50%]").fingerprint(),
    ]
    assert len(set(prints)) == 4


@pytest.mark.parametrize(
    ("name", "settings", "needle"),
    [
        ("texts", {}, "has no feature 'audio' of waves, but text (Text)"),
        ("speech", {"label_by": "pitch"}, "has no feature pitch"),
        ("speech", {"pitches": "60"}, "have no feature 'pitch'"),
        ("notes_like", {"label_by": "folder"}, "has no folders"),
        ("notes_like", {"take": "slices"}, "choose first or loudest"),
        ("nsynth/gansynth_subset", {}, "is not prepared"),
        ("nsynth/gansynth", {}, "available: nsynth/full, nsynth/gansynth_subset"),
        ("notes_like:nope", {}, "available: train (4 examples)"),
    ],
)
def test_refusals(name, settings, needle):
    message = refusal(name, **settings)
    assert needle in message
    assert "\n" not in message


def test_a_note_outside_of_the_classes_is_unusable(prepared, tmp_path, monkeypatch):
    features = {"audio": kinds.Tensor(shape=(16_000,), dtype=np.float32), "pitch": kinds.ClassLabel(num_classes=128)}
    prepare(tmp_path, "gansynth_subset", features, [{"audio": example(0)["audio"], "pitch": 100}])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    source = waves_of("gansynth_subset")
    with pytest.raises(UnusableImageError, match="has pitch 100, which is none of the 61 classes"):
        source.read(0)
    assert source.label(0) == 0
