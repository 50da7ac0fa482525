"""The head's file: written and read in the usual tool's convention."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.models.value_head import read_value_head, write_value_head
from engine.problem import BadInput


def test_a_head_comes_back_as_it_was_written(tmp_path: Path) -> None:
    weight, bias = torch.randn(1, 8), torch.randn(1)
    file = write_value_head(tmp_path, weight, bias)
    stored = load_file(str(file))
    assert set(stored) == {"v_head.summary.weight", "v_head.summary.bias"}
    read = read_value_head(tmp_path)
    assert read is not None
    assert torch.equal(read[0], weight)
    assert torch.equal(read[1], bias)


def test_a_head_without_bias_is_written_with_zero(tmp_path: Path) -> None:
    write_value_head(tmp_path, torch.randn(8, dtype=torch.bfloat16))
    read = read_value_head(tmp_path)
    assert read is not None
    assert read[0].shape == (1, 8)
    assert read[0].dtype == torch.bfloat16
    assert read[1].tolist() == [0.0]


def test_a_transposed_view_is_written_whole(tmp_path: Path) -> None:
    wide = torch.arange(12.0).reshape(6, 2)
    write_value_head(tmp_path, wide[:, 1], torch.tensor(0.5))
    read = read_value_head(tmp_path)
    assert read is not None
    assert read[0].tolist() == [[1.0, 3.0, 5.0, 7.0, 9.0, 11.0]]


def test_a_folder_without_a_head_gives_none(tmp_path: Path) -> None:
    assert read_value_head(tmp_path) is None


def test_a_pickled_head_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "value_head.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(BadInput, match="can run code"):
        read_value_head(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "value_head.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match="can't be read"):
        read_value_head(tmp_path)


def test_a_file_of_other_tensors_is_refused(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(2)}, str(tmp_path / "value_head.safetensors"))
    with pytest.raises(BadInput, match="holds no value head"):
        read_value_head(tmp_path)
