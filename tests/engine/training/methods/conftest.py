"""What the tests of methods share: models with opinions, loads, logits, runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

TEXT = "say red and green, and then all of the days of the week from the first to the last"


@pytest.fixture(scope="session")
def strong_folder(
    tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]
) -> Path:
    """A tiny Llama of four blocks whose weights are large enough to have opinions."""
    return save_llama(tmp_path_factory.mktemp("strong"), num_hidden_layers=4)


@pytest.fixture
def load(make_config: Callable[..., Any], strong_folder: Path) -> Callable[..., Any]:
    """`load(**settings)`: the strong model with its method applied, and the config."""

    def loaded(folder: Path = strong_folder, **changes: Any) -> tuple[Any, Any]:
        from transformers import set_seed

        from engine.models import choose_precision, load_model
        from engine.training.methods import apply_method

        config = make_config(**{"model_name_or_path": str(folder), "lora_dropout": 0.0, **changes})
        precision = choose_precision(config, "cpu")
        model = load_model(folder, config, precision, "cpu", True)
        set_seed(config.seed)
        return apply_method(model, config, precision), config

    return loaded


@pytest.fixture
def plain(strong_folder: Path) -> Any:
    """The strong model as it is stored."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(strong_folder, dtype=torch.float32).eval()


@pytest.fixture
def logits(strong_folder: Path) -> Callable[[Any], Any]:
    """`logits(model)`: what the model, in evaluation, predicts over a sentence."""

    def computed(model: Any) -> Any:
        import torch

        from engine.models import load_tokenizer

        inputs = load_tokenizer(strong_folder)(TEXT, return_tensors="pt")
        was = model.training
        model.eval()
        with torch.no_grad():
            found = model(**inputs).logits.float()
        model.train(was)
        return found

    return computed


@pytest.fixture
def train(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    strong_folder: Path,
    tmp_path: Path,
) -> Callable[..., Any]:
    """`train(name, **settings)` runs three steps into `tmp_path/name`; returns config, listener."""

    def trained(name: str, **changes: Any) -> tuple[Any, Any]:
        from engine.training import run_training

        flat = {"model_name_or_path": str(strong_folder), "max_steps": 3, "save_strategy": "no"}
        config = make_config(**{**flat, **changes})
        session, listener = make_session(tmp_path / name)
        run_training(config, session)
        return config, listener

    return trained


@pytest.fixture
def comes_back(strong_folder: Path) -> Callable[..., Any]:
    """`comes_back(config, run)`: the saved run loaded as chat loads it, in fp32."""

    def back(config: Any, run: Path, **changes: Any) -> Any:
        from engine.models.inference import load_for_inference
        from engine.runs.session import JobSession

        adapter = config.finetuning_type in ("lora", "oft")
        named = "adapter_name_or_path" if adapter else "model_name_or_path"
        asked = replace(
            config, do_train=False, infer_dtype="float32", **{named: str(run), **changes}
        )
        return load_for_inference(asked, JobSession("back", None, lambda _: None)).model

    return back
