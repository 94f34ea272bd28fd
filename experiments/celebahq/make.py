"""Make upright 1024x1024 faces from CelebA's photographs: the geometry of CelebA-HQ.

    python experiments/celebahq/make.py --celeba=img_celeba --landmarks=list_landmarks_celeba.txt --out=celeba_hq

Reads the in-the-wild photographs, not the aligned ones, and writes one PNG per photograph, named after it. Finished ones are
skipped, so the same command continues a stopped run. --images=FILE takes only the names in that file, one per line.

The authors' correction of each image, the result of a learned super-resolution, is NOT applied: faces have the published
position, size and surroundings, but small ones are less sharp. For the published set train on the finished images, as a folder
or as TFDS `celeb_a_hq`.

Cost: not measured on the whole set. One core of a shared machine took 1 to 11 seconds per face, longest for small ones at the
edge of a photograph, which are enlarged and padded; a process needs about 0.5 GB.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import app, flags
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.celebahq.geometry import read_landmarks, render
from pggan_jax.data.images.decode import UnusableImageError, open_image
from pggan_jax.data.preparation.worker_pool import default_workers, ordered_map
from pggan_jax.errors import UserError
from pggan_jax.images import encode_png
from pggan_jax.system.files import write_atomically

FLAGS = flags.FLAGS
flags.DEFINE_string("celeba", "img_celeba", "folder of the in-the-wild photographs")
flags.DEFINE_string("landmarks", "list_landmarks_celeba.txt", "CelebA's landmarks of these photographs")
flags.DEFINE_string("images", None, "text file with the names of the photographs to use, one per line; default: all")
flags.DEFINE_string("out", "celeba_hq", "folder of the PNGs")
flags.DEFINE_integer("limit", 0, "maximal number of photographs; 0 takes all", lower_bound=0)
flags.DEFINE_integer("size", 1024, "side of the images in pixels", lower_bound=4)
flags.DEFINE_integer("workers", None, "number of processes; default: one per core", lower_bound=1)

_OVERSAMPLING = 4  # 4096 for 1024
_FAILURES_SHOWN = 10
_EXIT_FAILURES, _EXIT_USAGE, _EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class FaceJob:
    """One face image to make."""

    photo: Path
    landmarks: np.ndarray
    out: Path


def choose_names(known: dict[str, np.ndarray], wanted: Path | None) -> list[str]:
    """Return all photographs with landmarks, or those that the file `wanted` lists.

    Raises:
        UserError: the file cannot be read, is empty, or names a photograph without landmarks.
    """
    if wanted is None:
        return list(known)
    try:
        lines = wanted.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--images={wanted}: cannot be read ({error}); give a text file with one name per line") from None
    names = {line.strip(): number for number, line in enumerate(lines, start=1) if line.strip()}
    if not names:
        raise UserError(f"--images={wanted}: has no names; give one name per line")
    for name, number in names.items():
        if name not in known:
            raise UserError(f"--images={wanted}, line {number}: {name[:80]!r} has no landmarks; write names such as 000001.jpg")
    return list(names)


def list_jobs() -> list[FaceJob]:
    """Return the images that the flags ask for, finished or not.

    Raises:
        UserError: a file or folder is missing or malformed, or a photograph is missing.
    """
    folder, out = Path(FLAGS.celeba), Path(FLAGS.out)
    landmarks = read_landmarks(Path(FLAGS.landmarks))
    names = choose_names(landmarks, Path(FLAGS.images) if FLAGS.images else None)[: FLAGS.limit or None]
    try:
        present = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise UserError(
            f"--celeba={folder}: cannot be listed ({error.strerror}); give the folder of the in-the-wild photographs"
        ) from None
    missing = [name for name in names if name not in present]
    if missing:
        remedy = "list the existing ones in a file for --images"
        raise UserError(
            f"--celeba={folder}: {len(missing)} of {len(names)} photographs are missing, first {missing[0]}; {remedy}"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={out}: cannot be created ({error.strerror}); give a folder with write permission") from None
    return [FaceJob(folder / name, landmarks[name], out / f"{Path(name).stem}.png") for name in names]


def make_face(size: int, job: FaceJob) -> str:
    """Make one image of `size` x `size`; return why the photograph cannot be used, or "".

    Raises:
        OSError: the image cannot be written.
    """
    try:
        photo = open_image(job.photo.read_bytes())
        face = render(photo, job.landmarks, size=size, transform_size=_OVERSAMPLING * size)
    except MemoryError:
        raise
    except UnusableImageError as error:
        return f"{job.photo.name} {error}"
    except Exception as error:  # Pillow's decoders raise any error on damaged files.
        return f"{job.photo.name}: {error}"
    write_atomically(job.out, encode_png(np.asarray(face)))
    return ""


def make_all(jobs: list[FaceJob], workers: int) -> list[str]:
    """Make the unfinished images; return the photographs that cannot be used, with reasons.

    Raises:
        UserError: an image cannot be written, or a process was killed.
    """
    todo = [job for job in jobs if not job.out.exists()]
    failures = []
    results = ordered_map(make_face, FLAGS.size, requests=todo, workers=workers)
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(todo), unit="img", disable=None)
    try:
        with bar, closing(results):
            for failure in results:
                bar.update()
                failures += [failure] if failure else []
    except OSError as error:
        raise UserError(
            f"--out={FLAGS.out}: cannot be written ({error.strerror}); fix this, then run the same command to continue"
        ) from None
    return failures


def main(argv: list[str]) -> int:
    """Make the images; return 0 if every photograph gave one."""
    del argv
    try:
        jobs = list_jobs()
        failures = make_all(jobs, FLAGS.workers or default_workers())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_USAGE
    except KeyboardInterrupt:
        print("stopped; run the same command to continue", file=sys.stderr)
        return _EXIT_INTERRUPTED
    for failure in failures[:_FAILURES_SHOWN]:
        print(f"left out: {failure}", file=sys.stderr)
    if len(failures) > _FAILURES_SHOWN:
        print(f"left out: {len(failures) - _FAILURES_SHOWN} more", file=sys.stderr)
    print(f"{len(jobs) - len(failures)} of {len(jobs)} images are in {FLAGS.out}")
    return _EXIT_FAILURES if failures else 0


if __name__ == "__main__":
    app.run(main)
