"""Frames become the tensors that the families' own video processors make."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.models.videos import Patched, Stacked, patches_of, video_half

SHAPES = [(1, 40, 60), (2, 64, 64), (5, 33, 120), (16, 700, 500), (3, 10, 300)]


def published(module: str, names: set[str]) -> dict[str, Any]:
    """Functions of a video processor of transformers, whose module asks for torchvision: they are
    read out of its source, and do without it."""
    import torch

    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.origin is not None
    source = (Path(spec.origin).parent / "models" / module).read_text()
    space: dict[str, Any] = {"math": math, "torch": torch}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            exec(compile(ast.Module([node], []), module, "exec"), space)
    assert names <= set(space)
    return space


@pytest.mark.parametrize(("frames", "height", "width"), SHAPES)
@pytest.mark.parametrize(
    ("patch", "merge", "temporal"), [(14, 2, 2), (8, 2, 2), (16, 2, 2), (8, 1, 3)]
)
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl", "glm4v"])
def test_patches_are_those_of_the_published_arithmetic(
    family: str, frames: int, height: int, width: int, patch: int, merge: int, temporal: int
) -> None:
    import torch

    theirs = published(f"{family}/video_processing_{family}.py", {"patchify"})["patchify"]
    side = patch * merge
    video = torch.randn(
        2, frames, 3, math.ceil(height / side / 4) * side, math.ceil(width / side / 4) * side
    )
    expected, *grid = theirs(None, video, patch, merge, temporal)
    found, *own = patches_of(video, patch, merge, temporal)
    assert own == grid
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("frames", "height", "width"), SHAPES)
@pytest.mark.parametrize(("least", "most"), [(1024, 10**5), (10**6, 10**8), (1, 2048)])
def test_sizes_are_those_of_the_published_arithmetic(
    frames: int, height: int, width: int, least: int, most: int
) -> None:
    theirs = published("qwen3_vl/video_processing_qwen3_vl.py", {"smart_resize"})["smart_resize"]
    frames = max(frames, 2)
    expected = theirs(frames, height, width, 2, 32, least, most)
    bounds = {"size": {"shortest_edge": least, "longest_edge": most}}
    half = Patched({**bounds, "patch_size": 16}, True)
    assert half.size_of(frames, height, width) == expected
    theirs = published("qwen2_vl/video_processing_qwen2_vl.py", {"smart_resize"})["smart_resize"]
    half = Patched({**bounds, "patch_size": 14}, False)
    assert half.size_of(frames, height, width) == theirs(height, width, 28, least, most)


def test_two_equal_frames_are_the_picture_of_them() -> None:
    from transformers import Qwen2VLImageProcessorPil

    settings = {"size": {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}, "patch_size": 8}
    frame = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    picture = Qwen2VLImageProcessorPil(**settings)(images=[frame], return_tensors="pt")
    video = Patched(settings, False)([np.stack([frame, frame])])
    assert video["video_grid_thw"].tolist() == picture["image_grid_thw"].tolist()
    assert (video["pixel_values_videos"] == picture["pixel_values"]).all()


def test_frames_that_differ_reach_the_patch_in_their_order() -> None:
    settings = {"patch_size": 8, "do_resize": False, "do_rescale": False, "do_normalize": False}
    video = np.zeros((3, 16, 16, 3), dtype=np.uint8)
    video[1], video[2] = 7, 9
    made = Patched(settings, False)([video])
    assert made["video_grid_thw"].tolist() == [[2, 2, 2]]
    patches = made["pixel_values_videos"].view(2, 4, 3, 2, 8, 8)  # the third frame stands twice
    assert patches[0, :, :, 0].unique().tolist() == [0]
    assert patches[0, :, :, 1].unique().tolist() == [7]
    assert patches[1].unique().tolist() == [9]


def test_stacked_frames_are_pictures_of_their_own() -> None:
    from transformers import CLIPImageProcessorPil

    settings = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    video = np.random.default_rng(0).integers(0, 256, (3, 50, 90, 3), dtype=np.uint8)
    alone = CLIPImageProcessorPil(**settings)(images=list(video), return_tensors="pt")
    made = Stacked(settings)([video, video])["pixel_values_videos"]
    assert made.shape == (2, 3, 3, 32, 32)
    assert (made[1] == alone["pixel_values"]).all()


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("qwen2_vl", {"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768}),
        ("qwen3_vl", {"shortest_edge": 128 * 32 * 32, "longest_edge": 32 * 32 * 768}),
        ("llava_next_video", {"shortest_edge": 224}),
        ("llava_onevision", {"height": 384, "width": 384}),
    ],
)
def test_settings_come_from_the_models_files_in_the_order_of_transformers(
    family: str, expected: dict[str, int], tmp_path: Path
) -> None:
    def size() -> dict[str, Any]:
        half = video_half(tmp_path)
        assert half is not None
        found = half._pictures.size
        return {name: value for name, value in vars(found).items() if value is not None}

    def write(name: str, content: dict[str, Any]) -> None:
        (tmp_path / name).write_text(json.dumps(content))

    own = [{"height": n, "width": n} for n in (1, 2, 3)]
    if family.startswith("qwen"):
        own = [{"shortest_edge": n, "longest_edge": 10 * n} for n in (1, 2, 3)]
    write("config.json", {"model_type": family})
    assert size() == expected
    write("preprocessor_config.json", {"size": own[0], "processor_class": "X"})
    assert size() == own[0]
    write("video_preprocessor_config.json", {"size": own[1], "fps": 2})
    assert size() == own[1]
    write("processor_config.json", {"video_processor": {"size": own[2], "num_frames": 8}})
    assert size() == own[2]
    write("config.json", {"model_type": "gemma3"})
    assert video_half(tmp_path) is None
