"""Every way to hold the base in few bits: trains three steps, is saved, loaded again, and answers.

GPTQ, AWQ and AQLM are checkpoints made beforehand. The first two are made here by gptqmodel where
it is installed (see `engine.models.quantised.stored` for the command). `.pictures/cells.py` writes
the results as the README's table.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.events import JobFailed, StepLogged
from engine.models.quantise import count_parameters
from engine.training import run_training

WAYS: dict[str, dict[str, Any]] = {
    "bnb-nf4": {"quantization_bit": 4, "double_quantization": False},
    "bnb-nf4-double": {"quantization_bit": 4},
    "bnb-fp4": {"quantization_bit": 4, "quantization_type": "fp4"},
    "bnb-8": {"quantization_bit": 8},
    **{
        f"hqq-{bits}": {"quantization_method": "hqq", "quantization_bit": bits}
        for bits in (8, 4, 3, 2, 1)
    },
    "gptq": {},
    "awq": {},
    "aqlm": {},
}
PACKAGES = {"hqq": "hqq", "gptq": "gptqmodel", "awq": "gptqmodel", "aqlm": "aqlm"}
SLOW = ("gptq", "awq", "aqlm")
ways = pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=pytest.mark.slow if way in SLOW else ()) for way in WAYS],
)


def _skip_without_package(way: str) -> None:
    package = PACKAGES.get(way.split("-")[0], "bitsandbytes")
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="session")
def wide_llama(tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]) -> Path:
    """A Llama of 64 features: the smallest that every library packs."""
    return save_llama(
        tmp_path_factory.mktemp("wide"),
        seed=0,
        hidden_size=64,
        intermediate_size=128,
        num_key_value_heads=4,
        initializer_range=0.02,
    )


@pytest.fixture(scope="session")
def checkpoint(wide_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoint(way)`: the folder that a way trains on, quantised beforehand where it must be."""
    made: dict[str, Path] = {}

    def get(way: str) -> Path:
        if way not in SLOW:
            return wide_llama
        if way not in made:
            folder = tmp_path_factory.mktemp(way) / "model"
            (_save_aqlm if way == "aqlm" else _save_by_gptqmodel)(way, wide_llama, folder)
            made[way] = folder
        return made[way]

    return get


def _save_by_gptqmodel(way: str, base: Path, folder: Path) -> None:
    """4 bits in groups of 32, calibrated on a few words."""
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    from gptqmodel import GPTQModel, QuantizeConfig
    from gptqmodel.quantization import FORMAT, METHOD

    kind = {"method": METHOD.AWQ, "format": FORMAT.GEMM} if way == "awq" else {}
    model = GPTQModel.load(str(base), QuantizeConfig(bits=4, group_size=32, **kind))
    model.quantize(["red green blue one two three sun moon star day night rain " * 4] * 16)
    model.save(str(folder))


def _save_aqlm(way: str, base: Path, folder: Path) -> None:
    """One codebook a layer of 1024 of its own pieces of 8 weights, each piece the nearest's code.

    The package has no quantiser of its own; what it reads is this.
    """
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    for name in [n for n in weights if n.endswith("_proj.weight")]:
        weight = weights.pop(name)
        pieces = weight.reshape(-1, 8)
        torch.manual_seed(0)
        book = pieces[torch.randint(len(pieces), (1024,))]
        codes = torch.cdist(pieces, book).argmin(1)
        codes = torch.where(codes < 512, codes, codes - 1024).to(torch.int16)
        layer = name.removesuffix("weight")
        weights[layer + "codebooks"] = book.reshape(1, 1024, 1, 8).clone()
        weights[layer + "codes"] = codes.reshape(weight.shape[0], -1, 1)
        weights[layer + "scales"] = torch.ones(weight.shape[0], 1, 1, 1)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["quantization_config"] = {
        "quant_method": "aqlm",
        "in_group_size": 8,
        "out_group_size": 1,
        "num_codebooks": 1,
        "nbits_per_codebook": 10,
        "linear_weights_not_to_quantize": ["lm_head"],
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


@ways
def test_trains_saves_and_comes_back(
    way: str,
    checkpoint: Callable[[str], Path],
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    import torch

    from engine.models import attach_adapters, choose_precision, load_model, load_tokenizer

    _skip_without_package(way)
    base = checkpoint(way)
    config = make_config(
        model_name_or_path=str(base),
        max_steps=3,
        logging_steps=1,
        save_strategy="no",
        **WAYS[way],
    )
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    losses = [event.loss for event in listener.of(StepLogged)]
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert not listener.of(JobFailed)

    config = replace(config, do_train=False)
    precision = choose_precision(config, "cpu", for_training=False)
    start = load_model(base, config, precision, "cpu", False)
    linear = [m for n, m in start.named_modules() if n.endswith("_proj")]
    assert len(linear) == 3 * 7
    assert not any(type(layer) is torch.nn.Linear for layer in linear)
    back: Any = attach_adapters(start, [tmp_path / "run"], precision, trainable=False)
    assert any(p.abs().max() > 0 for n, p in back.named_parameters() if "lora_B" in n)
    inputs = load_tokenizer(base)("say red", return_tensors="pt")
    with torch.no_grad():
        answer = back.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] > inputs["input_ids"].shape[1]


@ways
def test_gradients_pass_through_every_layer(
    way: str,
    wide_llama: Path,
    checkpoint: Callable[[str], Path],
    make_config: Callable[..., Any],
) -> None:
    """A layer is linear: its gradient is told by what it makes of each unit vector.

    Asked after a pass in evaluation mode, as after an evaluation in the middle of a run.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from engine.models import choose_precision, load_model

    _skip_without_package(way)
    base = checkpoint(way)
    config = make_config(model_name_or_path=str(base), bf16=False, **WAYS[way])
    model = load_model(base, config, choose_precision(config, "cpu"), "cpu", True)
    names = [n for n, m in model.named_modules() if n.endswith("_proj")]
    assert len(names) == 3 * 7
    assert type(model.get_output_embeddings()) is torch.nn.Linear
    for name in (names[0], names[-1]):
        layer = model.get_submodule(name)
        with torch.no_grad():
            unit = torch.eye(layer.in_features)
            layer.eval()
            asked = layer(unit).sum(1)
            layer.train()
            expected = layer(unit).sum(1)
        torch.testing.assert_close(asked, expected, rtol=1e-2, atol=1e-2)
        inputs = torch.randn(5, layer.in_features, requires_grad=True)
        layer(inputs).sum().backward()
        torch.testing.assert_close(inputs.grad, expected.expand(5, -1), rtol=2e-2, atol=2e-2)
    plain = AutoModelForCausalLM.from_pretrained(str(wide_llama))
    assert count_parameters(model) == plain.num_parameters()
