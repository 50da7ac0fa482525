"""Links: those that stay in the dataset folder are followed, those that lead out are not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.datasets import open_rows
from engine.problem import BadInput

ROWS = json.dumps([{"instruction": "q", "output": "a"}])


def register(folder: Path, file_name: str) -> Path:
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": file_name}}))
    return folder


def test_a_link_within_the_folder_and_a_linked_folder_are_followed(tmp_path: Path) -> None:
    real = tmp_path / "disk"
    real.mkdir()
    (real / "rows.json").write_text(ROWS)
    os.symlink("rows.json", real / "mine.json")
    register(real, "mine.json")
    os.symlink(real, tmp_path / "data")
    assert len(open_rows("mine", tmp_path / "data")) == 1


def test_a_hub_snapshot_links_to_its_repository(tmp_path: Path) -> None:
    """The hub's cache keeps each file once, beside the snapshots that link to it."""
    snapshot = tmp_path / "datasets--org--set" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blobs = tmp_path / "datasets--org--set" / "blobs"
    blobs.mkdir()
    (blobs / "0f").write_text(ROWS)
    os.symlink("../../blobs/0f", snapshot / "mine.json")
    assert len(open_rows("mine", register(snapshot, "mine.json"))) == 1
    (tmp_path / "beside.json").write_text(ROWS)
    os.symlink("../../../beside.json", snapshot / "other.json")
    with pytest.raises(BadInput, match="outside the dataset folder"):
        open_rows("mine", register(snapshot, "other.json"))


def test_a_file_of_a_folder_may_not_lead_out_either(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "a.json").write_text(ROWS)
    register(folder, "parts")
    assert len(open_rows("mine", folder)) == 1
    (tmp_path / "secret.json").write_text(ROWS)
    os.symlink(tmp_path / "secret.json", folder / "parts" / "b.json")
    with pytest.raises(BadInput, match="outside the dataset folder"):
        open_rows("mine", folder)
