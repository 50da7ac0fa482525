"""Sizes told beforehand are the loaded ones; stored checkpoints; what the loader is told."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig, read_flat
from engine.models.card import card_of, read_card
from engine.models.headers import TensorInfo
from engine.models.precision import Precision
from engine.models.quantised import stored
from engine.models.quantised.shapes import whole_shapes
from engine.models.quantised_size import (
    quantisation_effect,
    quantised_tensors,
    quantised_weight_bytes,
)
from engine.problem import BadInput

BF16 = Precision("bf16", "fp32", "bf16", "bf16")
FP32 = Precision("fp32", "fp32", None, "fp32")
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "nf4": {"quantization_bit": 4, "double_quantization": False},
    "double": {"quantization_bit": 4},
    "int8": {"quantization_bit": 8},
    **{
        f"hqq{bits}": {"quantization_method": "hqq", "quantization_bit": bits}
        for bits in (8, 6, 5, 4, 3, 2, 1)
    },
}


def settings_of(**changes: Any) -> RunConfig:
    return read_flat({"model_name_or_path": "x", "use_cpu": True, **changes}).config


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "apart"])
def folder(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    save_llama: Callable[..., Path],
) -> Path:
    return save_llama(
        tmp_path_factory.mktemp("sized"), hidden_size=64, tie_word_embeddings=request.param
    )


def held_bytes(model: Any) -> int:
    """Bytes of everything that stands for a weight, each storage once."""
    import torch

    seen: dict[int, int] = {}

    def add(tensor: Any) -> None:
        if isinstance(tensor, torch.Tensor):
            seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()

    for module in model.modules():
        for weight in module._parameters.values():
            add(weight)
            add(getattr(weight, "SCB", None))
            state = getattr(weight, "quant_state", None)
            for one in (state, getattr(state, "state2", None)):
                for part in ("absmax", "code", "offset"):
                    add(getattr(one, part, None))
        meta = getattr(module, "meta", None)
        for part in meta.values() if isinstance(meta, dict) else ():
            add(part)
    return sum(seen.values())


@pytest.mark.parametrize("precision", [BF16, FP32], ids=["bf16", "fp32"])
@pytest.mark.parametrize("way", WAYS)
def test_the_size_told_is_the_size_loaded(way: str, precision: Precision, folder: Path) -> None:
    if way.startswith("hqq"):
        pytest.importorskip("hqq")
    from engine.models import load_model

    config = settings_of(**WAYS[way])
    model = load_model(folder, config, precision, "cpu", True)
    told = quantised_weight_bytes(read_card(folder), config, precision)
    assert held_bytes(model) == told


def test_the_tensors_told_are_the_ones_quantised(folder: Path) -> None:
    from engine.models import load_model

    model = load_model(folder, settings_of(quantization_bit=4), BF16, "cpu", True)
    from bitsandbytes.nn import Linear4bit

    packed = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, Linear4bit)}
    assert packed == set(quantised_tensors(read_card(folder)))


def test_a_reward_models_head_is_never_quantised(folder: Path) -> None:
    import torch

    from engine.models import load_model
    from engine.models.score_head import score_layer

    for change in (WAYS["nf4"], WAYS["int8"]):
        model = load_model(folder, settings_of(**change), BF16, "cpu", True, "score")
        layer = score_layer(model)
        assert type(layer) is torch.nn.Linear
        assert layer.weight.dtype == torch.float32


DEMO = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


def test_the_form_is_told_what_each_way_costs_for_this_model() -> None:
    card = card_of(DEMO, "demo")
    found = quantisation_effect(card, settings_of(), BF16)
    sizes = {(way.method, way.bits): way.bytes for way in found}
    assert sizes["", None] == 2 * card.parameters == 269_030_016
    ordered = [sizes["", None], *(sizes["hqq", bits] for bits in (8, 4, 3, 2, 1))]
    assert ordered == sorted(ordered, reverse=True)
    assert sizes["bnb", 4] < sizes["bnb", 8] < sizes["", None]
    assert all(way.kept < way.bytes for way in found[1:])
    assert [way.name for way in found][:3] == ["as they are", "8-bit int8", "4-bit nf4"]


def test_sizes_are_told_without_torch() -> None:
    code = (
        "import sys, engine.models.quantised_size, engine.models.quantised.stored, "
        "engine.models.quantised.shapes, engine.models.quantise;"
        "sys.exit(any(n in sys.modules for n in ('torch', 'transformers', 'bitsandbytes')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- checkpoints that are quantised already --------------------------------------------------


@pytest.fixture
def quantised(tmp_path: Path) -> Callable[..., Path]:
    def make(method: str, **more: Any) -> Path:
        config = {**DEMO, "quantization_config": {"quant_method": method, "bits": 4, **more}}
        (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
        return tmp_path

    return make


@pytest.fixture
def all_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"finetuning_type": "full"}, "finetuning_type"),
        ({"finetuning_type": "freeze"}, "finetuning_type"),
        ({"use_dora": True}, "use_dora"),
        ({"pissa_init": True}, "pissa_init"),
        ({"adapter_name_or_path": "a,b"}, "adapter_name_or_path"),
        ({"adapter_name_or_path": "a", "create_new_adapter": True}, "adapter_name_or_path"),
    ],
)
@pytest.mark.parametrize("method", ["gptq", "awq", "aqlm"])
def test_rule_41_refuses(
    method: str,
    change: dict[str, Any],
    setting: str,
    quantised: Callable[..., Path],
    all_packages: None,
) -> None:
    folder = quantised(method)
    with pytest.raises(BadInput) as caught:
        stored.check_stored(folder, settings_of(**change), for_training=True)
    assert caught.value.problem.setting == setting
    assert method in caught.value.problem.what


def test_rule_41_bits_are_ignored_with_a_note(
    quantised: Callable[..., Path], all_packages: None
) -> None:
    folder = quantised("gptq")
    (note,) = stored.check_stored(folder, settings_of(quantization_bit=8), for_training=True)
    assert "quantization_bit: 8 is ignored" in note
    assert stored.check_stored(folder, settings_of(), for_training=True) == ()


def test_dora_trains_on_bitsandbytes_checkpoints(quantised: Callable[..., Path]) -> None:
    folder = quantised("bitsandbytes", load_in_4bit=True)
    assert stored.check_stored(folder, settings_of(use_dora=True), for_training=True) == ()


def test_a_plain_model_is_not_asked(folder: Path) -> None:
    assert stored.stored_method(folder) == ""
    full = settings_of(finetuning_type="full")
    assert stored.check_stored(folder, full, for_training=True) == ()


@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("gptq", "pip install --no-deps gptqmodel optimum"),
        ("awq", "pip install --no-deps gptqmodel optimum"),
        ("aqlm", "pip install 'finetui[aqlm]'"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    method: str, command: str, quantised: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "find_spec", lambda name: None)
    with pytest.raises(BadInput) as caught:
        stored.check_stored(quantised(method), settings_of(), for_training=False)
    assert command in caught.value.problem.hint


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_training_asks_for_a_backend_with_a_backward_pass(
    method: str, quantised: Callable[..., Path], all_packages: None
) -> None:
    pytest.importorskip("transformers")
    folder = quantised(method)
    told = stored.stored_options(folder, settings_of(), "cuda:0", for_training=True)
    assert told["device_map"] == {"": "cuda:0"}
    assert told["quantization_config"].backend == "auto_trainable"
    asked = stored.stored_options(folder, settings_of(), "cuda:0", for_training=False)
    assert "quantization_config" not in asked


def test_aqlm_with_small_codebooks_is_not_trained_on_a_cpu(
    quantised: Callable[..., Path], all_packages: None
) -> None:
    folder = quantised("aqlm", nbits_per_codebook=8, in_group_size=8)
    with pytest.raises(BadInput, match="8-bit codebooks"):
        stored.stored_options(folder, settings_of(), "cpu", for_training=True)
    assert stored.stored_options(folder, settings_of(), "cuda:0", for_training=True)
    assert stored.stored_options(folder, settings_of(), "cpu", for_training=False)


@pytest.mark.parametrize(
    ("told", "packed", "whole"),
    [
        (
            {"quant_method": "gptq", "bits": 4},
            {"h.0.a.qweight": ("I32", (8, 32)), "h.0.a.qzeros": ("I32", (2, 4))},
            {"h.0.a.weight": (32, 64)},
        ),
        (
            {"quant_method": "gptq", "bits": 8},
            {"h.0.a.qweight": ("I32", (16, 32)), "h.0.a.scales": ("F16", (2, 32))},
            {"h.0.a.weight": (32, 64)},
        ),
        (
            {"quant_method": "awq", "bits": 4},
            {"h.0.a.qweight": ("I32", (64, 4)), "h.0.a.bias": ("F16", (32,))},
            {"h.0.a.weight": (32, 64), "h.0.a.bias": (32,)},
        ),
        (
            {"quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1},
            {"h.0.a.codes": ("I16", (32, 8, 1)), "h.0.a.codebooks": ("F16", (1, 9, 1, 8))},
            {"h.0.a.weight": (32, 64)},
        ),
        (
            {"quant_method": "bitsandbytes"},
            {
                "h.0.a.weight": ("U8", (1024, 1)),
                "h.0.a.weight.absmax": ("F32", (32,)),
                "n.weight": ("F16", (64,)),
            },
            {"h.0.a.weight": (2048,), "n.weight": (64,)},
        ),
    ],
    ids=["gptq4", "gptq8", "awq", "aqlm", "bnb"],
)
def test_packed_tensors_are_counted_whole(
    told: dict[str, Any], packed: dict[str, Any], whole: dict[str, Any]
) -> None:
    tensors = {name: TensorInfo(dtype, shape) for name, (dtype, shape) in packed.items()}
    assert whole_shapes(tensors, told) == whole


# -- loading -------------------------------------------------------------------------------


def test_the_card_of_a_stored_checkpoint_counts_its_own_bytes(folder: Path) -> None:
    card = replace(read_card(folder), quantised="gptq", size_bytes=12_345)
    assert quantised_weight_bytes(card, settings_of(quantization_bit=4), BF16) == 12_345
    (only,) = quantisation_effect(card, settings_of(), BF16)
    assert (only.method, only.bytes) == ("gptq", 12_345)


def test_the_computing_type_follows_the_precision(folder: Path) -> None:
    import torch

    from engine.models import load_model

    four = settings_of(quantization_bit=4)
    for precision, kind in ((BF16, torch.bfloat16), (FP32, torch.float32)):
        model = load_model(folder, four, precision, "cpu", True)
        assert model.model.layers[0].mlp.up_proj.compute_dtype == kind
        assert model.model.norm.weight.dtype == kind


def test_a_4_bit_layer_is_packed_for_the_processor_in_chat_only(folder: Path) -> None:
    from bitsandbytes.functional import has_avx512bf16

    from engine.models import load_model

    four = settings_of(quantization_bit=4)
    for for_training in (True, False):
        model = load_model(folder, four, BF16, "cpu", for_training)
        packs = model.model.layers[0].mlp.up_proj.support_avx512bf16_for_cpu
        assert packs == (has_avx512bf16() and not for_training)


def test_bitsandbytes_is_quiet_from_the_first_load_on(folder: Path) -> None:
    from engine.models import load_model

    load_model(folder, settings_of(), FP32, "cpu", True)
    for name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
        assert logging.getLogger(name).level == logging.ERROR


@pytest.mark.parametrize("method", ["bnb", "hqq"])
def test_on_a_gpu_the_loader_is_told_where_to(method: str, folder: Path) -> None:
    """The path of the arguments, without a GPU."""
    from engine.models.quantise import quantisation_options

    config = settings_of(quantization_bit=4, quantization_method=method, use_cpu=False)
    told = quantisation_options(folder, config, BF16, "cuda:1", True)
    # hqq quantises layer by layer, from the file's mapping to the GPU.
    assert told["device_map"] == {"": "cuda:1" if method == "bnb" else "cpu"}
    spread = replace(config, quantization_device_map="auto")
    if method == "bnb":
        asked = quantisation_options(folder, spread, BF16, "cuda:1", False)
        assert asked["device_map"] == "auto"


@pytest.mark.parametrize("way", ["nf4", "int8", "hqq4"])
def test_quantised_layers_compute_on_a_gpu(way: str, folder: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    from engine.models import load_model

    config = settings_of(**WAYS[way], use_cpu=False)
    model = load_model(folder, config, BF16, "cuda:0", True)
    ids = torch.arange(4, 12, device="cuda:0")[None]
    with torch.autocast("cuda", torch.bfloat16):
        assert torch.isfinite(model(input_ids=ids).logits).all()


def test_the_seams_of_the_libraries_are_where_they_were(folder: Path) -> None:
    """Private names that `engine.models.quantised` leans on; a new minor version is to be read."""
    import inspect
    from importlib.metadata import version

    from bitsandbytes.autograd import _functions
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    assert version("bitsandbytes").startswith("0.50.")
    assert hasattr(Linear4bit(32, 32, bias=False), "support_avx512bf16_for_cpu")
    assert {"init_8bit_state", "train"} <= set(dir(Linear8bitLt))
    assert "is_training" in inspect.getsource(Linear8bitLt.forward)
    assert "is_training" in inspect.getsource(_functions.matmul)
    sft = inspect.getsource(pytest.importorskip("trl").SFTTrainer.__init__)
    assert "is_loaded_in_4bit" in sft and "torch.bfloat16" in sft
    hqq = pytest.importorskip("hqq.core.quantize")
    assert hqq.Quantizer.SUPPORTED_BITS == [8, 6, 5, 4, 3, 2, 1.58, 1]
    assert hqq.Quantizer.bit_to_packing[6] == hqq.Quantizer.bit_to_packing[8]


def test_a_quantised_checkpoint_of_any_family_has_a_card(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file(
        {
            "transformer.h.0.q.qweight": torch.zeros(8, 32, dtype=torch.int32),
            "transformer.h.0.q.scales": torch.zeros(2, 32),
            "transformer.wte.weight": torch.zeros(100, 64),
        },
        tmp_path / "model.safetensors",
    )
    told = {
        "model_type": "newcomer",
        "hidden_size": 64,
        "vocab_size": 100,
        "tie_word_embeddings": True,
        "quantization_config": {"quant_method": "gptq", "bits": 4},
    }
    (tmp_path / "config.json").write_text(json.dumps(told), "utf-8")
    card = read_card(tmp_path)
    assert card.parameters == 100 * 64 + 32 * 64
    assert card.quantised == "gptq"
