"""The source `sound:tfds:NAME[:SPLIT]`: notes of tensorflow_datasets, such as NSynth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.config.sound import SoundConfig, parse_pitches
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sounds.audio_files import AudioArray
from pggan_jax.data.sounds.clips import Clip, read_clip
from pggan_jax.data.sources.tfds import UNREAD, TfdsSource
from pggan_jax.errors import UserError, import_optional

DEFAULT_RATE = 16_000
"""Of data sets that do not say their sample rate, as NSynth."""
_SUBSET, _SUBSET_PITCHES = "gansynth_subset", range(24, 85)
_AUDIO, _PITCH, _INSTRUMENT = "audio", "pitch", "instrument"


class TfdsWaves(TfdsSource):
    """The notes of one split; classes are their pitches or families."""

    kind = "sound:tfds"
    notes: tuple[str, ...] = ()

    def __init__(self, argument: str, config: SoundConfig) -> None:
        """Find the data set on the disk; all records are read once if settings choose some.

        Args:
            argument: NAME, NAME/CONFIG, or either with ":SPLIT".
            config: of the clips and their classes.

        Raises:
            UserError: as `TfdsSource`; or it has no sound, or nothing that the settings ask for.
        """
        self._config = config
        self._rate = DEFAULT_RATE
        self.label_kind = "pitch" if config.label_by == "auto" else config.label_by
        super().__init__(argument)
        self._numbers = self._chosen_numbers()
        self._labels = np.full(len(self._numbers), UNREAD, np.int32)

    def __len__(self) -> int:
        return len(self._numbers)

    def item_name(self, index: int) -> str:
        """Return a name such as "record 17"."""
        return f"record {self._numbers[index]}"

    def label(self, index: int) -> int:
        """Return the class of a note; 0 without classes and for an unreadable record."""
        if not self.class_names:
            return 0
        if self._labels[index] == UNREAD:
            try:
                self._labels[index] = self._class_of(self._read_example(int(self._numbers[index])))
            except UnusableImageError:
                return 0
        return int(self._labels[index])

    def read(self, index: int) -> np.ndarray:
        """Return clip `index`, float64 `[samples]`; raises UnusableImageError if it cannot be used."""
        return self.examine(index).wave

    def examine(self, index: int) -> Clip:
        """Return clip `index` with what is remarkable about it; raises UnusableImageError as `read`."""
        example = self._read_example(int(self._numbers[index]))
        if self.class_names:
            self._labels[index] = self._class_of(example)
        stored = np.asarray(example[_AUDIO])
        if not np.issubdtype(stored.dtype, np.floating):
            # TFDS gives decoded files as whole numbers of 16 bits.
            stored = stored / 2.0**15
        return read_clip(AudioArray(stored.reshape(len(stored), -1), self._rate), self._config)

    def fingerprint(self) -> str:
        """Return a digest of the files and the settings."""
        config = self._config
        settings = (config.sample_rate, config.samples, config.n_fft, config.take, config.channel, config.level)
        chosen = (config.keep_silence, self.label_kind, config.pitches, config.instrument_sources)
        return f"{super().fingerprint()} {settings} {chosen}"

    def _find_builder(self, name: str) -> Any:
        """Return the builder; features of audio are read as the tensors that are stored."""
        import_optional("tensorflow_datasets", package="tensorflow-datasets", needed_by=f"data.source = {self.name!r}")
        rates: list[int] = []
        with _audio_as_tensors(rates):
            builder = super()._find_builder(name)
        self._rate = rates[0] if rates and rates[0] else DEFAULT_RATE
        return builder

    def _choose_feature(self, features: Any) -> tuple[str, int]:
        """Return the name of the feature of sound, and its number of channels."""
        from tensorflow_datasets.core import features as kinds

        names = sorted(features) if isinstance(features, kinds.FeaturesDict) else []
        if _AUDIO not in names or len(features[_AUDIO].shape or ()) not in (1, 2):
            listed = ", ".join(f"{name} ({type(features[name]).__name__})" for name in names) or type(features).__name__
            raise self._error(f"has no feature 'audio' of waves, but {listed}; choose another data set, such as nsynth")
        self._source_names = _names_of(features, "source")
        return _AUDIO, 1

    def _class_names(self, features: Any) -> tuple[str, ...]:
        """Return all pitches or families that the data set may have; `_chosen_numbers` narrows them."""
        if self._config.take == "slices":
            raise UserError(f"sound.take = slices: {self.name} has notes of one length each; choose first or loudest")
        if self.label_kind == "none":
            return ()
        if self.label_kind == "folder":
            raise UserError(f"sound.label_by = folder: {self.name} has no folders; choose pitch, family or none")
        if self.label_kind == "pitch":
            if _PITCH not in features:
                return self._no_classes("pitch")
            count = getattr(features[_PITCH], "num_classes", None) or 128
            return tuple(map(str, _SUBSET_PITCHES if _SUBSET in self.name else range(count)))
        return _names_of(features, "family") or self._no_classes("instrument/family")

    def _no_classes(self, feature: str) -> tuple[str, ...]:
        if self._config.label_by == "auto":
            return ()
        raise UserError(f"sound.label_by = {self.label_kind}: {self.name} has no feature {feature}; choose none")

    def _class_of(self, example: dict[str, Any]) -> int:
        """Return the class of a record.

        Raises:
            UnusableImageError: it is none of the classes.
        """
        if self.label_kind == "family":
            return int(example[_INSTRUMENT]["family"])
        pitch = str(int(example[_PITCH]))
        if pitch not in self.class_names:
            raise UnusableImageError(f"has pitch {pitch}, which is none of the {len(self.class_names)} classes")
        return self.class_names.index(pitch)

    def _chosen_numbers(self) -> np.ndarray:
        """Return the records that `sound.pitches` and `sound.instrument_sources` keep."""
        everything = np.arange(len(self._examples))
        names = [name for name in ("pitches", "instrument_sources") if getattr(self._config, name)]
        if not names:
            return everything
        chosen = " with ".join(f"sound.{name}={getattr(self._config, name)}" for name in names)
        kept, pitches = [], set()
        for number in tqdm(everything.tolist(), desc=f"choosing from {self.name}", unit="note", delay=2, disable=None):
            try:
                example = self._read_example(number)
                if self._is_wanted(example):
                    kept.append(number)
                    pitches.add(int(example[_PITCH]))
            except UnusableImageError:
                continue
            except KeyError as error:
                raise UserError(f"{chosen}: the notes of {self.name} have no feature {error}; leave it empty") from None
        if not kept:
            raise UserError(f"{chosen}: keeps none of {len(everything):,} notes in {self.name}; choose another filter")
        self.notes = (f"{chosen} keeps {len(kept):,} of {len(everything):,} notes",)
        if self.label_kind == "pitch":
            self.class_names = tuple(map(str, sorted(pitches)))
        return np.array(kept)

    def _is_wanted(self, example: dict[str, Any]) -> bool:
        pitches, sources = parse_pitches(self._config.pitches), self._config.instrument_sources
        if pitches is not None and int(example[_PITCH]) not in pitches:
            return False
        return not sources or self._source_names[int(example[_INSTRUMENT]["source"])] in sources.split(",")


@contextmanager
def _audio_as_tensors(rates: list[int]) -> Iterator[None]:
    """Let TFDS read stored features of the class `Audio` as plain tensors of the same bytes.

    That class needs TensorFlow even where nothing is to be decoded.

    Args:
        rates: gets the sample rate of each such feature; 0 where it is not stored.
    """
    from tensorflow_datasets.core.features import feature as parts
    from tensorflow_datasets.core.features.audio_feature import Audio
    from tensorflow_datasets.core.features.tensor_feature import Tensor

    original = Audio.__dict__["from_json_content"]

    def as_tensor(_cls: type, value: Any) -> Any:
        if isinstance(value, dict):  # the form of earlier versions
            stored = {"sample_rate": value["sample_rate"], "is_encoded": value.get("lazy_decode", False)}
            form = {"shape": tuple(value["shape"]), "dtype": parts.dtype_from_str(value["dtype"])}
        else:
            stored = {"sample_rate": value.sample_rate, "is_encoded": value.lazy_decode}
            form = {"shape": parts.from_shape_proto(value.shape), "dtype": parts.dtype_from_str(value.dtype)}
            form["encoding"] = value.encoding or "none"
        if stored["is_encoded"]:
            raise ValueError("it stores encoded audio files; write them to a folder, and use sound:DIR")
        rates.append(int(stored["sample_rate"] or 0))
        return Tensor(**form)

    Audio.from_json_content = classmethod(as_tensor)
    try:
        yield
    finally:
        Audio.from_json_content = original


def _names_of(features: Any, part: str) -> tuple[str, ...]:
    """Return the class names of a part of the feature `instrument`; empty where there is none."""
    if _INSTRUMENT not in features or part not in features[_INSTRUMENT]:
        return ()
    return tuple(features[_INSTRUMENT][part].names)
