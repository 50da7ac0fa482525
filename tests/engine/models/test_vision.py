"""Vision-language models: which weights are which part, what trains, what a processor says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.datasets import Encoder, Example, Message
from engine.datasets.medium import pictures as of_pictures
from engine.models.vision import part_of
from engine.problem import BadInput

FAMILIES = ("llava", "qwen2_vl", "gemma3", "smolvlm")
SIZES = ((100, 60), (40, 200), (31, 33), (640, 480), (5, 5), (900, 1000), (64, 64), (63, 65))


def settings(folder: Path, pictures: Path, **changes: Any) -> Any:
    flat = {
        "model_name_or_path": str(folder),
        "dataset": "colours",
        "dataset_dir": str(pictures),
        "use_cpu": True,
        "bf16": False,
        "cutoff_len": 4096,
        **changes,
    }
    return read_flat(flat, "test").config


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", "tower"),
        ("model.multi_modal_projector.linear_1.weight", "projector"),
        ("model.language_model.layers.0.self_attn.q_proj.weight", "language"),
        ("lm_head.weight", "language"),
        ("model.visual.blocks.0.attn.qkv.weight", "tower"),
        ("model.visual.patch_embed.proj.weight", "tower"),
        ("model.visual.merger.mlp.0.weight", "projector"),
        ("model.visual.deepstack_merger_list.0.norm.weight", "projector"),
        ("model.vision_model.encoder.layers.0.mlp.fc1.weight", "tower"),
        ("model.connector.modality_projection.proj.weight", "projector"),
        ("model.text_model.layers.0.mlp.up_proj.weight", "language"),
        # As published files of Qwen2-VL name them.
        ("visual.blocks.0.attn.qkv.weight", "tower"),
        ("model.layers.0.self_attn.q_proj.weight", "language"),
        ("vpm.encoder.layers.0.mlp.fc1.weight", "tower"),
        ("resampler.kv_proj.weight", "projector"),
    ],
)
def test_a_weight_belongs_to_a_part(name: str, part: str) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_all_three_parts(
    family: str, vision_folder: Callable[[str], Path], picture_set: Path
) -> None:
    model = loaded(vision_folder(family), settings(vision_folder(family), picture_set))
    found = {part_of(name) for name, _ in model.named_parameters()}
    assert found == {"tower", "projector", "language"}


def loaded(folder: Path, config: Any) -> Any:
    from engine.models import choose_precision, load_model

    return load_model(folder, config, choose_precision(config, "cpu"), "cpu", True)


FREEZES = [
    {"freeze_vision_tower": True, "freeze_multi_modal_projector": True},
    {"freeze_vision_tower": False, "freeze_multi_modal_projector": True},
    {"freeze_vision_tower": True, "freeze_multi_modal_projector": False},
    {
        "freeze_vision_tower": True,
        "freeze_multi_modal_projector": False,
        "freeze_language_model": True,
    },
    {
        "freeze_vision_tower": False,
        "freeze_multi_modal_projector": False,
        "freeze_language_model": True,
    },
    {"freeze_vision_tower": False, "freeze_multi_modal_projector": False},
]


CELLS = [
    pytest.param(
        family,
        method,
        frozen,
        id=f"{family}-{method}-{number}",
        marks=() if method in ("lora", "full") and family == "qwen2_vl" else pytest.mark.slow,
    )
    for family in ("llava", "qwen2_vl")
    for method in ("lora", "full", "freeze", "oft")
    for number, frozen in enumerate(FREEZES)
]


@pytest.mark.parametrize(("family", "method", "frozen"), CELLS)
def test_frozen_parts_get_no_gradients_and_the_others_do(
    family: str,
    method: str,
    frozen: dict[str, bool],
    vision_folder: Callable[[str], Path],
    picture_set: Path,
) -> None:
    import torch

    from engine.models import choose_precision
    from engine.models.processor import Media
    from engine.training.methods import apply_method

    folder = vision_folder(family)
    config = settings(
        folder, picture_set, finetuning_type=method, freeze_trainable_layers=1, **frozen
    )
    model = apply_method(loaded(folder, config), config, choose_precision(config, "cpu"))
    encoder = Encoder(folder, config)
    pictures = Media(folder, config, encoder.tokenizer)
    encoder.read_media_by(pictures)
    pictures.reads_for(model)
    row = encoder.encode(
        Example(
            "conversation",
            1,
            messages=(Message("user", "<image>Which?"), Message("assistant", "red")),
            media=of_pictures(["red.png"]),
        )
    )
    ids = torch.tensor([row.ids])
    model.train()
    model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        labels=torch.tensor([row.labels]),
        **pictures.inputs(ids, [of_pictures(["red.png"])]),
    ).loss.backward()
    moved = {
        part_of(name)
        for name, weight in model.named_parameters()
        if weight.grad is not None and weight.requires_grad
    }
    wanted = {
        part
        for part, key in (
            ("tower", "freeze_vision_tower"),
            ("projector", "freeze_multi_modal_projector"),
            ("language", "freeze_language_model"),
        )
        if not getattr(config, key)
    }
    assert moved == wanted
    assert all(
        weight.grad is None
        for name, weight in model.named_parameters()
        if part_of(name) not in wanted
    )


def test_a_model_of_text_has_no_language_model_to_freeze(
    model_folder: Path, picture_set: Path
) -> None:
    from engine.models import choose_precision
    from engine.training.methods import apply_method

    for method in ("lora", "full"):
        config = settings(
            model_folder, picture_set, finetuning_type=method, freeze_language_model=True
        )
        with pytest.raises(BadInput, match="reads only text"):
            apply_method(loaded(model_folder, config), config, choose_precision(config, "cpu"))


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_by_arithmetic_are_the_processors(
    family: str, vision_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    from PIL import Image

    from engine.models.processor import see_through

    folder = vision_folder(family)
    config = settings(folder, tmp_path, media_dir=str(tmp_path), image_max_pixels=400_000)
    counting, reading = Encoder(folder, config), Encoder(folder, config)
    assert see_through(reading, folder, config) is not None
    for number, size in enumerate(SIZES):
        Image.new("RGB", size, "red").save(tmp_path / f"{number}.png")
        talk = Example(
            "conversation",
            1,
            messages=(
                Message("user", "<image>Who is it? é"),
                Message("assistant", "Kane 他."),
                Message("user", "And why?<image>"),
                Message("assistant", "So."),
            ),
            media=of_pictures([f"{number}.png", "0.png"]),
        )
        row = reading.encode(talk)
        assert counting.encode(talk) == row
        # Exactly the answers are trained, and the pieces are the text.
        trained = [token for token, mark in zip(row.ids, row.trained, strict=True) if mark]
        said = reading.tokenizer.decode(trained)
        assert said == "Kane 他.<|im_end|>\nSo.<|im_end|>\n"
        pieces = counting.pieces(talk)
        assert "".join(piece.text for piece in pieces) == row.text
        assert len(pieces) == len(row.ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_come_as_many_as_tokens_wait_for_them(
    family: str, vision_folder: Callable[[str], Path], picture_set: Path
) -> None:
    import torch

    from engine.models.processor import see_through

    folder = vision_folder(family)
    config = settings(folder, picture_set)
    encoder = Encoder(folder, config)
    pictures = see_through(encoder, folder, config)
    assert pictures is not None
    model = loaded(folder, config)
    pictures.reads_for(model)
    rows = [
        encoder.encode(
            Example(
                "conversation",
                1,
                messages=(
                    Message("user", "<image>" * len(named) + "?"), Message("assistant", "a")
                ),
                media=of_pictures(named),
            )
        )
        for named in ((), ("red.png",), ("blue.png", "green.png"))
    ]  # fmt: skip
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in rows])
    mask = torch.tensor([[1] * len(r.ids) + [0] * (longest - len(r.ids)) for r in rows])
    with torch.no_grad():
        together = model(
            input_ids=ids, attention_mask=mask, **pictures.inputs(ids, [r.media for r in rows])
        ).logits
        for line, row in enumerate(rows):
            alone_ids = torch.tensor([row.ids])
            alone = model(
                input_ids=alone_ids,
                attention_mask=torch.ones_like(alone_ids),
                **pictures.inputs(alone_ids, [row.media]),
            ).logits
            assert torch.allclose(together[line, : len(row.ids)], alone[0], atol=1e-3)


def test_a_processor_without_its_files_is_refused_by_name(
    vision_folder: Callable[[str], Path], picture_set: Path, tmp_path: Path
) -> None:
    import shutil

    from engine.models.processor import load_processor

    bare = tmp_path / "bare"
    shutil.copytree(vision_folder("llava"), bare)
    (bare / "processor_config.json").unlink()
    with pytest.raises(BadInput) as refused:
        load_processor(bare, settings(bare, picture_set))
    assert "processor" in refused.value.problem.what


def test_the_video_half_of_a_processor_is_kept_on_saving(
    vision_folder: Callable[[str], Path], picture_set: Path, tmp_path: Path
) -> None:
    import json
    import shutil

    from engine.models import load_tokenizer
    from engine.models.processor import Media, has_torchvision

    if has_torchvision():
        pytest.skip("torchvision is here: the whole processor is loaded")
    folder = tmp_path / "model"
    shutil.copytree(vision_folder("qwen2_vl"), folder)
    written = json.loads((folder / "processor_config.json").read_text())
    written["video_processor"] = {"video_processor_type": "Qwen2VLVideoProcessor", "fps": 2}
    (folder / "processor_config.json").write_text(json.dumps(written))
    config = settings(folder, picture_set)
    pictures = Media(folder, config, Encoder(folder, config).tokenizer)
    pictures.save(tmp_path / "saved", load_tokenizer(folder))
    saved = json.loads((tmp_path / "saved" / "processor_config.json").read_text())
    assert saved["video_processor"]["fps"] == 2
    assert saved["processor_class"] == "Qwen2VLProcessor"
