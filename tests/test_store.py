"""Files that are whole or not there, keys, and where a number comes from."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch

from accentlib import store
from accentlib.errors import DataError
from accentlib.store import atomic, code_version, digest, load_tensors, provenance, save_table, save_tensors


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "new" / "x.txt"
    with atomic(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("ha")
        raise RuntimeError
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_tensors_and_their_facts_come_back(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "n": torch.tensor(3)}
    save_tensors(tmp_path / "x.safetensors", tensors, {"seeds": [0, 1], "f": 0.1})
    found, facts = load_tensors(tmp_path / "x.safetensors")
    assert facts == {"seeds": [0, 1], "f": 0.1} and found.keys() == tensors.keys()
    assert all(torch.equal(found[k], v) for k, v in tensors.items())


def test_a_truncated_or_missing_file_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:-8])
    for wrong in (path, tmp_path / "none.safetensors"):
        with pytest.raises(DataError, match=f"{wrong} can't be read as a safetensors file"):
            load_tensors(wrong)


def test_digests_tell_apart_what_differs():
    array = np.arange(6)
    different = [
        (array,), (array.reshape(2, 3),), (array.astype(np.int32),), (array[::-1],), ("a", 1), ("a", 2), ("b", 1),
        ({"x": 1},), ({"x": 2},), ([1, 2],), ([2, 1],),
    ]  # fmt: skip
    assert len({digest(*parts) for parts in different}) == len(different)
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})
    assert digest(array[::-1]) == digest(array[::-1].copy())


def test_a_table_lies_beside_its_provenance(tmp_path):
    facts = provenance(
        seeds=(0, 1), sizes={"users": 2}, data_source="here", duration_s=1.26, command="make x", key="k"
    )  # fmt: skip
    save_table(tmp_path / "x.csv", pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}), facts)
    assert (tmp_path / "x.csv").read_text() == "a,b\n1,0.5\n2,\n"
    told = json.loads((tmp_path / "x.provenance.json").read_text())
    assert told["seeds"] == [0, 1] and told["duration_s"] == 1.3 and told["key"] == "k" and told["commit"]


def test_the_version_is_our_own_commit_or_none(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "accentlib").mkdir()
    (tmp_path / "accentlib" / "x.py").write_text("1")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:12]
    monkeypatch.setattr(store, "ROOT", tmp_path.resolve())
    assert code_version() == commit
    (tmp_path / "accentlib" / "x.py").write_text("2")
    assert code_version() == f"{commit}+changes"
    monkeypatch.setattr(store, "ROOT", tmp_path.resolve() / "accentlib")  # inside somebody else's repository
    assert code_version().startswith("accentlib ")
