"""Rows by sample index, independent of batches and restarts; the prefetcher."""

import threading
from unittest import mock

import numpy as np
import pytest

from pggan_jax.data import loader as loader_module
from pggan_jax.data.data_record import DataRecord, differences
from pggan_jax.data.loader import Loader
from pggan_jax.data.prefetch import Prefetcher
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.data.sample_order import rows_for_samples, split_rows
from pggan_jax.errors import UserError
from pggan_jax.run_logs.phase_timer import PhaseTimer


def make_pyramid(count=11, classes=("a", "b")):
    levels = {size: np.zeros((count, size, size, 3), np.uint8) for size in (8, 4)}
    for size, level in levels.items():
        level[:] = np.arange(count)[:, None, None, None] + size
    return Pyramid(levels, np.arange(count, dtype=np.int32) % max(1, len(classes)), classes)


class TestRows:
    @pytest.mark.parametrize("size", [1, 2, 7, 1000])
    def test_every_row_once_per_epoch(self, size):
        rows = rows_for_samples(np.arange(3 * size), seed=5, size=size)
        assert rows.dtype == np.int64
        for epoch in rows.reshape(3, size):
            assert sorted(epoch) == list(range(size))

    def test_batches_do_not_change_the_order(self):
        whole = rows_for_samples(np.arange(120), seed=1, size=50)
        for batch in (1, 7, 16, 64):
            parts = [rows_for_samples(np.arange(at, min(at + batch, 120)), seed=1, size=50) for at in range(0, 120, batch)]
            np.testing.assert_array_equal(np.concatenate(parts), whole)

    def test_any_shape_and_order_of_positions(self):
        positions = np.random.default_rng(0).integers(0, 10**9, (3, 4, 5))
        rows = rows_for_samples(positions, seed=2, size=13)
        assert rows.shape == (3, 4, 5)
        for index in np.ndindex(3, 4, 5):
            assert rows[index] == rows_for_samples(positions[index], seed=2, size=13)
        assert rows_for_samples(np.zeros((0,), np.int64), seed=2, size=13).shape == (0,)

    def test_epochs_and_seeds_have_orders_of_their_own(self):
        first, second = rows_for_samples(np.arange(200), seed=3, size=100).reshape(2, 100)
        other = rows_for_samples(np.arange(100), seed=4, size=100)
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, other)
        assert not np.array_equal(first, np.arange(100))

    def test_the_order_is_fair(self):
        """Over many epochs each row is first about equally often: chi-square with 9 degrees of freedom, far in its tail."""
        firsts = rows_for_samples(np.arange(2000) * 10, seed=0, size=10)
        counts = np.bincount(firsts, minlength=10)
        assert ((counts - 200) ** 2 / 200).sum() < 40

    def test_the_order_is_the_same_on_every_machine(self):
        """The one snapshot: resuming elsewhere must go on in the same order."""
        words = np.random.Philox(key=[1000, 2]).random_raw(6)
        np.testing.assert_array_equal(rows_for_samples(np.arange(12, 18), seed=1000, size=6), np.argsort(words))


class TestSplit:
    @pytest.mark.parametrize("size", [20, 1000])
    @pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
    def test_each_row_is_on_one_side(self, size, share):
        chosen, held_out = split_rows(size, share=share, seed=3)
        assert sorted([*chosen, *held_out]) == list(range(size))
        assert len(held_out) == round(share * size)
        assert (np.diff(chosen) > 0).all()
        assert (np.diff(held_out) > 0).all()

    def test_depends_on_seed_and_row_alone(self):
        """A larger share holds out more rows; images that are added change the old rows' order among each other in nothing."""
        few, many = (set(split_rows(1000, share=share, seed=3)[1]) for share in (0.1, 0.3))
        assert few < many
        longer = split_rows(1100, share=0.5, seed=3)[1]
        assert set(longer[longer < 1000]) <= set(split_rows(1000, share=0.6, seed=3)[1])
        assert few != set(split_rows(1000, share=0.1, seed=4)[1])

    def test_is_the_same_on_every_machine(self):
        """The one snapshot: a resumed run must hold out the same images."""
        words = np.random.Philox(key=[1000, 0x68656C64]).random_raw(8)
        np.testing.assert_array_equal(split_rows(8, share=0.25, seed=1000)[1], np.sort(np.argsort(words)[:2]))


class TestHeldOut:
    @pytest.mark.parametrize("use_labels", [False, True])
    def test_the_rest_is_a_data_set_of_its_own(self, use_labels):
        """Everything that a run asks for is what a loader of these images alone gives."""
        pyramid = make_pyramid(count=80)
        loader = Loader(pyramid, seed=7, use_labels=use_labels, held_out=0.25)
        for own, rows in zip((loader, loader.held_out), split_rows(80, share=0.25, seed=7), strict=True):
            part = Pyramid({size: level[rows] for size, level in pyramid.levels.items()}, pyramid.classes[rows], ("a", "b"))
            plain = Loader(part, seed=7, use_labels=use_labels)
            assert len(own) == len(plain)
            samples = np.arange(3 * len(own)).reshape(3, -1)
            for one, other in zip(own.gather(8, samples), plain.gather(8, samples), strict=True):
                np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(own.class_table(), plain.class_table())
            np.testing.assert_array_equal(own.level(4), plain.level(4))
            assert own.level_bytes(4) == plain.level(4).nbytes
            assert own.image_spec == plain.image_spec
        assert loader.held_out.held_out is None

    def test_off_nothing_is_held_out(self):
        loader = Loader(make_pyramid(), seed=7, use_labels=True)
        assert loader.held_out is None
        assert len(loader) == 11
        assert "held_out" not in loader.record().to_json()

    def test_the_record_counts_both_sides(self):
        loader = Loader(make_pyramid(count=80), seed=7, use_labels=True, held_out=0.25)
        record = loader.record()
        assert (record.images, record.held_out, sum(record.class_counts)) == (80, 20, 60)
        assert DataRecord.from_json(record.to_json()) == record

    def test_classes_keep_their_order_on_both_sides(self):
        loader = Loader(make_pyramid(count=80), seed=7, use_labels=True, held_out=0.25)
        before = loader.held_out.class_table()
        assert loader.use_class_order(("b", "a"))
        np.testing.assert_array_equal(loader.held_out.class_table(), 1 - before)

    def test_of_another_source(self):
        """They take no image from training, follow the order of the classes, and are recorded."""
        pyramid, others = make_pyramid(count=40), Loader(make_pyramid(count=20), seed=7, use_labels=True)
        plain = Loader(pyramid, seed=7, use_labels=True)
        loader = Loader(pyramid, seed=7, use_labels=True, held_out=others)
        assert loader.held_out is others
        assert (len(loader), loader.held_out_count) == (40, 0)
        assert loader.record().held_out_images == others.record().fingerprint
        assert differences(plain.record(), loader.record()) == ["data.held_out_source has other images"]
        assert DataRecord.from_json(loader.record().to_json()) == loader.record()
        before = others.class_table()
        assert loader.use_class_order(("b", "a"))
        np.testing.assert_array_equal(loader.held_out.class_table(), 1 - before)

    @pytest.mark.parametrize(("count", "share"), [(11, 0.5), (100, 0.1), (2000, 0.001)])
    def test_too_few_are_refused(self, count, share):
        words = rf"data\.held_out = {share}: holds out \d+ of {count:,} images, and there must be at least 16 on either side"
        with pytest.raises(UserError, match=words):
            Loader(make_pyramid(count=count), seed=0, use_labels=False, held_out=share)


class TestLoader:
    @pytest.mark.parametrize("resolution", [4, 8])
    def test_images_and_labels_belong_together(self, resolution):
        loader = Loader(make_pyramid(), seed=0, use_labels=True)
        positions = np.arange(24).reshape(2, 3, 4)
        batch = loader.gather(resolution, positions)
        rows = rows_for_samples(positions, seed=0, size=11)
        assert batch.images.shape == (2, 3, 4, resolution, resolution, 3)
        assert batch.images.dtype == np.uint8
        assert batch.labels.dtype == np.float32
        assert loader.label_size == 2
        np.testing.assert_array_equal(batch.images[..., 0, 0, 0], rows + resolution)
        np.testing.assert_array_equal(batch.labels.argmax(axis=-1), rows % 2)

    def test_the_order_does_not_depend_on_the_resolution(self):
        loader = Loader(make_pyramid(), seed=0, use_labels=False)
        small, large = (loader.gather(size, np.arange(30)).images[:, 0, 0, 0] - size for size in (4, 8))
        np.testing.assert_array_equal(small, large)

    @pytest.mark.parametrize("count", [1, 2, 7, 64])
    def test_large_images_are_copied_by_threads(self, count, monkeypatch, tmp_path):
        """The same rows out of a memory map, whichever way."""
        np.save(tmp_path / "level.npy", np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), np.uint8))
        level = np.load(tmp_path / "level.npy", mmap_mode="r")
        rows = np.random.default_rng(1).integers(0, 50, (2, count))
        monkeypatch.setattr(loader_module, "_BYTES_PER_THREAD", 1500)
        loader = Loader(Pyramid({16: level}, np.zeros(50, np.int32), ()), seed=0, use_labels=False)
        with mock.patch.object(loader._pool, "map", wraps=loader._pool.map) as threads:
            images = loader.images(16, rows)
        assert threads.called == (count >= 2)
        np.testing.assert_array_equal(images, level[rows])
        assert images.ctypes.data % 64 == 0, "a CPU device can take it over as it is"

    @pytest.mark.parametrize("count", range(1, 40))
    def test_threads_copy_every_row_where_counts_do_not_divide(self, count, monkeypatch):
        """Up to eight threads of about two rows each; memory that nobody has written to shows."""
        level = np.arange(40, dtype=np.uint8)[:, None, None, None] + np.zeros((40, 16, 16, 3), np.uint8)
        monkeypatch.setattr(loader_module, "_BYTES_PER_THREAD", 1500)
        loader = Loader(Pyramid({16: level}, np.zeros(40, np.int32), ()), seed=0, use_labels=False)
        monkeypatch.setattr(loader._memory, "empty", lambda shape: np.full(shape, 255, np.uint8))
        rows = np.arange(count)[::-1]
        with mock.patch.object(loader._pool, "map", wraps=loader._pool.map) as threads:
            np.testing.assert_array_equal(loader.images(16, rows), level[rows])
        assert threads.called == (count >= 4)

    def test_without_labels(self):
        for classes in ((), ("a", "b")):
            loader = Loader(make_pyramid(classes=classes), seed=0, use_labels=False)
            assert loader.label_size == 0
            assert loader.gather(4, np.arange(6).reshape(2, 3)).labels.shape == (2, 3, 0)

    def test_the_table_of_classes_is_four_bytes_per_image(self):
        loader = Loader(make_pyramid(), seed=0, use_labels=True)
        assert loader.class_table().tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
        assert loader.class_table().nbytes == 44
        assert Loader(make_pyramid(), seed=0, use_labels=False).class_table().tolist() == [0]

    def test_labels_that_do_not_exist_are_refused(self):
        with pytest.raises(UserError, match=r"data\.labels"):
            Loader(make_pyramid(classes=()), seed=0, use_labels=True)


class TestPrefetcher:
    def test_results_come_in_order(self):
        with Prefetcher(lambda request: request * 2, range(100), depth=3) as results:
            assert list(results) == [2 * request for request in range(100)]
            with pytest.raises(StopIteration):
                next(results)

    @pytest.mark.parametrize("depth", [1, 2, 5])
    def test_never_more_than_depth_ahead(self, depth):
        started, taken, worst = [], 0, 0

        def make(request):
            nonlocal worst
            started.append(request)
            worst = max(worst, len(started) - taken)
            return request

        with Prefetcher(make, range(30), depth=depth) as results:
            for _ in range(30):
                # Counted before: the thread may go on as soon as the result is taken.
                taken += 1
                next(results)
        assert worst <= depth

    @pytest.mark.parametrize("where", ["make", "requests"])
    def test_an_exception_comes_at_its_position(self, where):
        def make(request):
            if where == "make" and request == 3:
                raise RuntimeError("broken row")
            return request

        def requests():
            yield from range(3)
            if where == "requests":
                raise RuntimeError("broken row")
            yield from range(3, 10)

        with Prefetcher(make, requests(), depth=5) as results:
            assert [next(results) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(RuntimeError, match="broken row"):
                next(results)
            with pytest.raises(StopIteration):
                next(results)

    def test_close_ends_a_thread_that_waits_for_room(self):
        full = threading.Event()

        def endless():
            request = 0
            while True:
                if request == 2:
                    full.set()
                yield request
                request += 1

        results = Prefetcher(lambda request: request, endless(), depth=2)
        assert next(results) == 0
        assert full.wait(timeout=30)
        results.close()
        results.close()
        assert not results._thread.is_alive()
        with pytest.raises(StopIteration):
            next(results)

    def test_leaving_by_an_exception_ends_the_thread(self):
        with pytest.raises(KeyError), Prefetcher(lambda request: request, range(10**9)) as results:
            raise KeyError
        assert not results._thread.is_alive()

    def test_waiting_is_timed(self):
        go, timer = threading.Event(), PhaseTimer()
        with Prefetcher(lambda _request: go.wait(timeout=30), range(1)) as results:
            threading.Timer(0.05, go.set).start()
            assert list(timer.iterate("wait", results)) == [True]
        assert timer.end_tick().phases["wait"] > 0.04

    def test_depth_must_be_positive(self):
        with pytest.raises(ValueError, match="depth is 0"):
            Prefetcher(str, [], depth=0)
