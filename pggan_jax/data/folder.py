"""The source `folder:DIR`: every image file below a folder, one subfolder per class. Lists names; decodes when asked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from pggan_jax.data.decoding import IMAGE_SUFFIXES, MODES, UnusableImageError, decode_image
from pggan_jax.errors import UserError


class FolderSource:
    """All images below a folder, sorted by path. If all lie in two or more subfolders, these are the classes."""

    def __init__(self, folder: str, *, resolution: int, channels: int) -> None:
        """List the files; nothing is decoded yet.

        Args:
            folder: where to look, in all depths; `~` is the home folder. Hidden files and folders are passed over.
            resolution: side of the images in pixels; larger images are cropped and downsized, smaller ones unusable.
            channels: 3 or 0 for RGB, 1 for luminance, 4 for RGBA.

        Raises:
            UserError: another number of channels, no such folder, or no image file in it.
        """
        self.name = f"folder:{folder}"
        if channels and channels not in MODES:
            raise UserError(f"data.channels = {channels}: a folder gives 1 (luminance), 3 (RGB) or 4 (RGBA); 0 means 3")
        self.channels = channels or 3
        self._resolution = resolution
        self._folder = Path(folder).expanduser()
        if not self._folder.is_dir():
            what = "is a file, not a folder" if self._folder.exists() else "no such folder"
            raise UserError(f"data.source = {self.name!r}: {what}; give the folder that holds the images")
        self._paths = _image_paths(self._folder)
        if not self._paths:
            kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
            raise UserError(f"data.source = {self.name!r}: no image file in it or below; wanted are {kinds}")
        self.class_names = _class_names(self._paths)
        self._class_numbers = {name: number for number, name in enumerate(self.class_names)}

    def __len__(self) -> int:
        return len(self._paths)

    def image(self, index: int) -> np.ndarray:
        """File `index` as uint8 `[resolution, resolution, channels]`.

        Raises:
            UnusableImageError: the file is damaged, not an image, or smaller than the resolution.
        """
        path = self._paths[index]
        try:
            return decode_image(self._folder / path, resolution=self._resolution, channels=self.channels)
        except UnusableImageError as error:
            raise UnusableImageError(f"{path} {error}") from None

    def label(self, index: int) -> int:
        """Number of the subfolder that holds file `index`; 0 where there are no classes."""
        return self._class_numbers.get(self._paths[index].partition("/")[0], 0)

    def fingerprint(self) -> str:
        """Of every file's path below the folder, size and time of change; the folder itself may move."""
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                status = (self._folder / path).stat()
                state = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                # A dangling link, say; decoding will tell.
                state = "unreadable"
            digest.update(b"\0" + os.fsencode(path) + f"\0{state}".encode())
        return digest.hexdigest()


def _image_paths(folder: Path) -> list[str]:
    """Relative paths of all image files below `folder`, sorted, links followed."""
    found: list[str] = []
    seen: set[str] = set()
    for parent, subfolders, files in os.walk(folder, followlinks=True):
        # Links may lead back up; each real folder is listed once.
        real = os.path.realpath(parent)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        below = Path(parent).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        found += [
            prefix + name for name in files if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


def _class_names(paths: list[str]) -> tuple[str, ...]:
    """The first-level subfolders, if they hold all images. A single one tells nothing apart, so it is no class."""
    parts = [path.partition("/") for path in paths]
    names = sorted({first for first, _, _ in parts})
    return tuple(names) if len(names) > 1 and all(rest for _, _, rest in parts) else ()
