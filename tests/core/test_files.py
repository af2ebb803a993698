"""Files are written whole or not at all."""

import pytest

from segtool.errors import SegtoolError
from segtool.files import atomic_path, write_json


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert '"a": 1' in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SegtoolError, match="cannot write"):
        write_json(tmp_path / "file" / "x.json", {})
