"""JSON that lies beside a run: whatever it holds, what is read is small, finite and shallow, or refused in one line."""

from __future__ import annotations

import json
import math

import pytest

from pggan_jax.config.io import from_json, to_json
from pggan_jax.data.preparation.prepared_folder import open_prepared
from pggan_jax.data.sources.labels import _parse
from pggan_jax.errors import UserError
from pggan_jax.loop.divergence import RollbackCount
from pggan_jax.system.file_lock import FileLock, HeldError
from pggan_jax.system.json_files import DEEPEST, is_count, json_objects, parse_json, read_json_object
from tests.helpers.runs import small_config

DEEP = ["[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900]
BROKEN = ["", "{", "nothing", "\0", '"\x1b[2J', "[1,]"]
FOREIGN = ["3", "null", "[]", '"text"', "true", "{}", "1e999", "NaN"]


class TestParsing:
    @pytest.mark.parametrize("text", DEEP + BROKEN, ids=lambda text: text[:12])
    def test_refusals_are_a_value_error(self, text):
        with pytest.raises(ValueError, match=r".") as refused:
            parse_json(text)
        assert "\n" not in str(refused.value)

    def test_what_is_not_that_deep_is_read(self):
        text = "[" * DEEPEST + "]" * DEEPEST
        assert json.dumps(parse_json(text)) == text

    def test_brackets_in_text_are_no_depth(self):
        assert parse_json(json.dumps(["[" * 1000])) == ["[" * 1000]

    @pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "7" * 5000, "-" + "7" * 5000])
    def test_numbers_that_are_none(self, number):
        assert parse_json(f'{{"a": [{number}, 2]}}') == {"a": [None, 2]}

    def test_others_are_read_as_they_are(self):
        numbers = [0, -1, 1.5, 1e308, 5e-324, 2**63, True]
        assert parse_json(json.dumps(numbers)) == numbers

    def test_numbers_of_a_checkpoint_keep_what_is_not_finite(self):
        assert math.isnan(parse_json("[NaN]", only_finite=False)[0])

    def test_objects_among_lines(self):
        lines = [*DEEP, *BROKEN, *FOREIGN, '{"a": 1}']
        assert list(json_objects(lines)) == [{}, {"a": 1}]

    def test_an_object_is_in_a_file(self, tmp_path):
        with pytest.raises(OSError, match="none"):
            read_json_object(tmp_path / "none")
        (tmp_path / "folder").mkdir()
        with pytest.raises(ValueError, match="not a file"):
            read_json_object(tmp_path / "folder")
        (tmp_path / "list").write_text("[1]")
        with pytest.raises(ValueError, match="a list, not an object"):
            read_json_object(tmp_path / "list")

    @pytest.mark.parametrize(
        ("value", "is_one"), [(0, True), (5, True), (-1, False), (True, False), (2.0, False), (2**70, False)]
    )
    def test_counts(self, value, is_one):
        assert is_count(value) == is_one


class TestReaders:
    """Every file of JSON that this program reads back."""

    @pytest.mark.parametrize("text", DEEP + BROKEN + FOREIGN, ids=lambda text: text[:12])
    def test_config_json(self, text):
        with pytest.raises(UserError, match=r"^runs/x/config\.json: "):
            from_json(text, "runs/x/config.json")

    @pytest.mark.parametrize("value", ["NaN", "1e999", "7" * 5000, "[]", "{}", '"\\u001b[2J"', "null"])
    def test_values_in_config_json(self, value):
        text = to_json(small_config()).replace('"seed": 1000', f'"seed": {value}')
        assert value in text
        with pytest.raises(UserError, match="seed"):
            from_json(text, "config.json")

    @pytest.mark.parametrize("value", ["1e999", "NaN", "-1", "1.5", '"3"', "null", "true", "7" * 5000, "[]", "1" + "0" * 20])
    def test_rollbacks(self, tmp_path, value):
        path = tmp_path / "rollbacks.json"
        path.write_text(f'{{"rollbacks": {value}, "images_seen": 1000, "report": "r"}}')
        assert RollbackCount(path).at(1000) == (0, "")
        path.write_text('{"rollbacks": 2, "images_seen": 1000, "report": "r"}')
        assert RollbackCount(path).at(1000) == (2, "r")

    @pytest.mark.parametrize("text", DEEP + BROKEN + FOREIGN, ids=lambda text: text[:12])
    def test_rollbacks_that_are_something_else(self, tmp_path, text):
        (tmp_path / "rollbacks.json").write_text(text)
        assert RollbackCount(tmp_path / "rollbacks.json").at(0) == (0, "")

    @pytest.mark.parametrize("text", DEEP + BROKEN + FOREIGN, ids=lambda text: text[:12])
    def test_info_of_a_prepared_folder(self, tmp_path, text):
        (tmp_path / "info.json").write_text(text)
        with pytest.raises(UserError, match=r"damaged|format") as refused:
            open_prepared(tmp_path)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("text", DEEP + BROKEN, ids=lambda text: text[:12])
    def test_labels(self, text):
        with pytest.raises(ValueError, match="is not JSON"):
            _parse(text.encode())

    @pytest.mark.parametrize(
        "entry", ["[" * 25 + "]" * 25, '["a", 1e999]', f'["a", {"7" * 5000}]', '["a", NaN]', '["a", true]']
    )
    def test_entries_of_labels(self, entry):
        with pytest.raises(ValueError, match="labels") as refused:
            _parse(f'{{"labels": [{entry}]}}'.encode())
        assert len(str(refused.value)) < 250

    @pytest.mark.parametrize("text", [*BROKEN, *FOREIGN, "[" * 4000, '{"pid": 1}'], ids=lambda text: text[:12])
    def test_owner_of_a_lock(self, tmp_path, text):
        with FileLock(tmp_path / "lock"):
            (tmp_path / "lock").write_text(text)
            with pytest.raises(HeldError, match=r"^another process$"):
                FileLock(tmp_path / "lock")
