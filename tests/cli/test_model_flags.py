"""What the commands that use a trained model share: where a file may be written, and when its folder is created."""

from __future__ import annotations

import pytest

from tests.helpers.command_line import one_line_error

pytestmark = pytest.mark.usefixtures("quick_compilation")


class TestFolderOfTheOutput:
    def test_is_created_for_what_is_written(self, launch, finished, tmp_path):
        out = tmp_path / "new" / "deep" / "x.png"
        status, _, err = launch("arithmetic", "1 + 2", f"--from={finished}", f"--out={out}")
        assert (status, err) == (0, "")
        assert [path.name for path in out.parent.iterdir()] == ["x.png"]

    @pytest.mark.parametrize(
        ("command", "words", "message"),
        [
            (["arithmetic", "1 + 2"], ["--from={tmp}/nowhere"], "no such folder"),
            (["arithmetic", "1 + 2"], ["--class=3"], "trained without labels"),
            (["edit"], ["--direction={tmp}/none.npz:0"], "no such file"),
            (["film"], ["--out={tmp}/new/x.webp", "--class=3"], "trained without labels"),
            (["film"], ["--out={tmp}/new/x.gif", "--colors=7", "--fps=60"], "--fps=60"),
            (["directions"], ["--out={tmp}/new/x.npz", "--class=3"], "trained without labels"),
            (["sample"], ["--class=3"], "is the name of an image"),
            (["sample"], ["--out={tmp}/new/x", "--class=3"], "trained without labels"),
        ],
    )
    def test_is_not_created_by_a_refused_command(self, launch, finished, tmp_path, command, words, message):
        words = [word.format(tmp=tmp_path) for word in words]
        result = launch(*command, f"--from={finished}", f"--out={tmp_path}/new/x.png", *words)
        assert result[0] == 2
        assert message in one_line_error(result)
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["mine/x.png", "mine/deep/x.png"])
    def test_that_cannot_be_created(self, launch, finished, tmp_path, name):
        (tmp_path / "mine").write_text("a file")
        result = launch("arithmetic", "1 + 2", f"--from={finished}", f"--out={tmp_path / name}")
        assert result[0] == 2
        assert "cannot be written (Not a directory)" in one_line_error(result)

    def test_too_long_a_name(self, launch, finished, tmp_path):
        result = launch("arithmetic", "1 + 2", f"--from={finished}", f"--out={tmp_path / ('x' * 300)}.png")
        assert result[0] == 2
        assert "cannot be written (File name too long)" in one_line_error(result)
