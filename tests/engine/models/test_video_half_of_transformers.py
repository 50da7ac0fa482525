"""With torchvision a model's own video processor reads the frames: the same tokens and tensors.

torchvision can't be imported beside a CPU build of torch, so the few functions of it that those
processors call stand here, in a process of their own. Everything else in it is transformers' code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava_next_video", "video_llava",
            "llava_onevision", "smolvlm")  # fmt: skip
STAND_IN = {
    "torchvision-0.28.0.dist-info/METADATA": (
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n"
    ),
    "torchvision/__init__.py": '__version__ = "0.28.0"\nfrom . import io, transforms\n',
    "torchvision/io.py": "class ImageReadMode:\n    RGB = 1\n\ndecode_image = read_image = None\n",
    "torchvision/transforms/__init__.py": """
from enum import Enum

class InterpolationMode(Enum):
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"

from . import functional, v2
""",
    "torchvision/transforms/functional.py": "from .v2.functional import *\n",
    "torchvision/transforms/v2/__init__.py": "from . import functional\n",
    "torchvision/transforms/v2/functional.py": """
import torch
from torchvision.transforms import InterpolationMode

def resize(x, size, interpolation=None, antialias=True):
    flat = x.reshape(-1, *x.shape[-3:])
    made = torch.nn.functional.interpolate(
        flat.float(), size=list(size), mode="bicubic", antialias=True
    )
    made = made.round().clamp(0, 255).to(x.dtype)
    return made.reshape(*x.shape[:-3], *made.shape[-3:])

def normalize(x, mean, std, inplace=False):
    mean, std = (torch.as_tensor(one, dtype=x.dtype)[:, None, None] for one in (mean, std))
    return (x - mean) / std

def pil_to_tensor(picture):
    import numpy as np

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

def grayscale_to_rgb(x):
    return x if x.shape[-3] == 3 else x.repeat_interleave(3, -3)

def crop(x, top, left, height, width):
    return x[..., top : top + height, left : left + width]
""",
}
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from engine.config import read_flat
from engine.datasets import Encoder, find_dataset, open_rows
from engine.models.processor import has_torchvision, see_through
from engine.models.videos import video_half

folder, found = Path(sys.argv[1]), {}
row = open_rows(find_dataset("clips", folder)).example(0)
for model in map(Path, sys.argv[2:]):
    flat = {"dataset": "clips", "dataset_dir": str(folder), "cutoff_len": 4096}
    config = read_flat({**flat, "model_name_or_path": str(model)}).config
    encoder = Encoder(model, config)
    counted = encoder.encode(row).ids
    media = see_through(encoder, model, config)
    reader, ids = media.readers["video"], encoder.encode(row).ids
    theirs = media.inputs(torch.tensor([ids]), [list(row.media)])
    used = reader._half is None and type(media.processor.video_processor).__module__
    reader._half = video_half(model)
    ours = media.inputs(torch.tensor([ids]), [list(row.media)])
    found[model.name] = {
        "used": used,
        "ids": ids == counted,
        "names": sorted(ours) == sorted(theirs),
        "apart": max(float((ours[n].float() - theirs[n].float()).abs().max()) for n in ours),
    }
print(json.dumps([has_torchvision(), found]))
"""


@pytest.mark.slow
def test_transformers_own_video_processors_make_the_same(
    video_folder: Any, tiny_video: Any, tmp_path: Path
) -> None:
    import av
    import numpy as np

    from engine.models.processor import has_torchvision

    if has_torchvision():
        pytest.skip("torchvision works here: the other tests take this way already")
    pytest.importorskip("num2words")
    for name, text in STAND_IN.items():
        (tmp_path / "stand" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stand" / name).write_text(text)
    tiny_video.save_video_set(tmp_path)
    # Frames of a colour each: resizing, which only SmolVLM does here, is not what is compared.
    noise = np.random.default_rng(0)
    with av.open(str(tmp_path / "red.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(24):
            pixels = np.broadcast_to(noise.integers(0, 256, 3, dtype=np.uint8), (32, 32, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    models = []
    for family in FAMILIES:
        model = Path(shutil.copytree(video_folder(family), tmp_path / family))
        # As published models have it: the settings that both halves are made from.
        own = json.loads((model / "processor_config.json").read_text())["image_processor"]
        own.pop("image_processor_type")
        (model / "preprocessor_config.json").write_text(json.dumps(own))
        models.append(str(model))
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), *models],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "stand")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    stood_in, found = json.loads(done.stdout.strip().splitlines()[-1])
    assert stood_in and sorted(found) == sorted(FAMILIES)
    for family, told in found.items():
        assert told["used"].startswith("transformers.models."), family
        assert told["ids"] and told["names"], family
        assert told["apart"] < 1e-6, (family, told)
