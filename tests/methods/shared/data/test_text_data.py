import gzip
import json

import pytest
import torch

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.methods.shared.data.text import codeparrot_bytes, text_data


def test_windows_follow_one_another_and_hold_the_whole_text():
    text = bytes(range(128)) * 40
    data = text_data("text", text, 0)
    rows = torch.cat([part.tensors[0] for part in (data.train, data.test, data.validation)])
    assert bytes(rows[:, :-1].flatten().tolist()) == text[: len(rows) * 64]
    assert torch.equal(rows[1:, 0], rows[:-1, -1])
    assert len(rows) == data.pool == (len(text) - 1) // 64
    moved = text_data("text", text, 1)
    again = torch.cat([part.tensors[0] for part in (moved.train, moved.test, moved.validation)])
    assert sorted(map(bytes, rows.tolist())) == sorted(map(bytes, again.tolist()))


def test_pythons_source_is_source():
    data = load("python_source")
    text = bytes(data.train.tensors[0][:2000, :-1].flatten().tolist())
    assert b"import" in text
    assert data.train.tensors[0].max() < data.meta["vocabulary"]


def test_files_of_codeparrot(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match="file-000000000001"):
        codeparrot_bytes()
    folder = tmp_path / "codeparrot-clean"
    folder.mkdir()
    for number, word in ((1, "a"), (2, "b")):
        with gzip.open(folder / f"file-00000000000{number}.json.gz", "wt") as file:
            for _ in range(50):
                file.write(json.dumps({"repo_name": "x", "path": "y.py", "content": f"{word} = 'ä'\n" * 10}) + "\n")
    data = codeparrot_bytes()
    assert data.train.tensors[0].shape[1] == 129
    assert bytes(data.train.tensors[0][0, :9].tolist()) == b"a = '??'\n"
    assert ord("b") in data.validation.tensors[0]
    (folder / "file-000000000003.json.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="no compressed JSON lines"):
        codeparrot_bytes()
