"""What the form tells of packing before a run is what packing then does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, prepare
from engine.datasets.packing import PackedRows
from engine.datasets.packing_outlook import packing_outlook
from engine.worker.fitting import row_facts, rows_key

ROWS = [
    {"instruction": f"Say {i}", "output": " ".join(["It is"] * (1 + i % 9)) + f" {i}."}
    for i in range(300)
]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    folder: Path = save_llama(tmp_path_factory.mktemp("tiny"))
    return folder


@pytest.mark.parametrize(
    "change", [{"packing": True}, {"neat_packing": True}, {"stage": "pt"}], ids=str
)
def test_the_outlook_is_what_the_run_packs(
    change: dict[str, Any], model_folder: Path, make_config: Any, make_set: Any
) -> None:
    common = {"dataset": "mine", "dataset_dir": str(make_set(ROWS)), "cutoff_len": 256}
    config = make_config(**common, **change, model_name_or_path=str(model_folder))
    encoder = Encoder(model_folder, config)
    told = packing_outlook(config, encoder)
    made = prepare(config, encoder).train
    assert told is not None
    assert (told.rows, told.packed) == (300, len(made))
    assert told.filled == pytest.approx(made.tokens / (len(made) * 256))
    assert told.longest == max(made.lengths())
    assert isinstance(made, PackedRows) == ("stage" not in change)
    facts = row_facts(config)
    assert facts is not None
    assert facts.packed(300) == len(made) and facts.filled == told.filled
    assert facts.longest == told.longest


def test_nothing_packed_is_nothing_to_tell(
    model_folder: Path, make_config: Any, make_set: Any
) -> None:
    common = {"dataset": "mine", "dataset_dir": str(make_set(ROWS[:20]))}
    config = make_config(**common, model_name_or_path=str(model_folder))
    assert packing_outlook(config, Encoder(model_folder, config)) is None
    facts = row_facts(config)
    assert facts is not None and not facts.filled and facts.packed(20) == 20
    packed = make_config(**common, packing=True)
    assert rows_key(config) != rows_key(packed)


def test_a_set_of_a_hub_is_not_fetched_by_a_look(
    model_folder: Path, make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "dataset_info.json").write_text('{"far": {"hf_hub_url": "org/far"}}')
    config = make_config(
        dataset="far",
        dataset_dir=str(tmp_path),
        packing=True,
        model_name_or_path=str(model_folder),
    )
    assert row_facts(config) is None
    assert packing_outlook(config, Encoder(model_folder, config)) is None
