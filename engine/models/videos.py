"""The video half of a model's processor without torchvision: frames into the tensors of its family.

transformers 5.24 has video processors on torchvision only, and torchvision from PyPI breaks
transformers beside a CPU build of torch. The work is a frame's own (resize, crop, rescale,
normalise: as the family's picture processor does it on PIL) and a family's way of laying frames
out, which is written here after `video_processing_*.py` of transformers 5.24:

- Qwen2-VL, Qwen2.5-VL: each frame resized within the pixels of a frame; then patches of two frames;
- Qwen3-VL, Qwen3.5: the same with pixels counted over all frames of the video;
- LLaVA-NeXT-Video, Video-LLaVA, LLaVA-OneVision, InternVL: frames of one size, stacked.

The text that stands for a video is the processor's own work, here as with torchvision: it asks its
`video_processor`, which `lend_video_half` puts in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.models.folder import read_json

if TYPE_CHECKING:
    import torch

# What each family's class has where the model's files say nothing.
_QWEN2 = {
    "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768},
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
}
_QWEN3 = {
    "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 32 * 32 * 768},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_CROPPED: dict[str, Any] = {}  # those of CLIP's pictures: shortest edge and crop 224
_SQUARE = {"size": {"height": 384, "width": 384}, "do_center_crop": False, "crop_size": None}
_PATCHED = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), _QWEN2),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), _QWEN3),
}
_STACKED = {
    **dict.fromkeys(("llava_next_video", "video_llava"), _CROPPED),
    **dict.fromkeys(("llava_onevision", "internvl"), _SQUARE),
}
_KNOWN = (
    "size", "crop_size", "patch_size", "temporal_patch_size", "merge_size", "min_pixels",
    "max_pixels", "do_resize", "do_center_crop", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "resample", "default_to_square",
)  # fmt: skip


def lend_video_half(processor: Any, folder: Path) -> bool:
    """Give a processor that was loaded without torchvision a video half; whether its family has
    one here. The processor's files are written as before: it is no part of them."""
    if not hasattr(processor, "video_token"):
        return False
    half = video_half(folder)
    if half is None:
        return False
    processor.video_processor = half
    return True


def video_half(folder: Path) -> Patched | Stacked | None:
    """The video half for the model in `folder`; None for a family that isn't known here."""
    kind = str(read_json(folder / "config.json").get("model_type"))
    if kind in _PATCHED:
        return Patched({**_PATCHED[kind], **_settings(folder)}, _PATCHED[kind] is _QWEN3)
    if kind in _STACKED:
        return Stacked({**_STACKED[kind], **_settings(folder)})
    return None


class Patched:
    """Qwen's way: `pixel_values_videos` (patches, channels x frames x height x width of one) and
    `video_grid_thw` (videos, 3), the patches of each video in time, height and width."""

    model_input_names = ("pixel_values_videos", "video_grid_thw")

    def __init__(self, settings: Mapping[str, Any], over_all_frames: bool) -> None:
        from transformers import Qwen2VLImageProcessorPil

        self._pictures: Any = Qwen2VLImageProcessorPil(**settings)
        self._over_all = over_all_frames
        self.patch_size: int = self._pictures.patch_size
        self.merge_size: int = self._pictures.merge_size
        self.temporal_patch_size: int = self._pictures.temporal_patch_size

    def __call__(
        self, videos: Sequence[Any], video_metadata: Sequence[Any] = (), **_: Any
    ) -> dict[str, Any]:
        """The tensors of `videos` (each frames, height, width, 3), and the metadata that the
        processor writes times from. Raises ValueError for frames that are too long and thin."""
        import torch

        patches, grids = [], []
        for video in videos:
            found, grid = self._one(video)
            patches.append(found)
            grids.append(grid)
        return {
            "pixel_values_videos": torch.cat(patches),
            "video_grid_thw": torch.tensor(grids),
            "video_metadata": _metadata(video_metadata),
        }

    def _one(self, video: Any) -> tuple[torch.Tensor, list[int]]:
        import numpy as np
        import torch

        size = self.size_of(len(video), *video.shape[1:3])
        frames = torch.from_numpy(np.stack([self._frame(frame, size) for frame in video]))
        found, *grid = patches_of(
            frames[None], self.patch_size, self.merge_size, self.temporal_patch_size
        )
        return found[0], grid

    def size_of(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """The height and width that frames of a video are given."""
        edges = self._pictures.size
        least, most = edges["shortest_edge"], edges["longest_edge"]
        factor = self.patch_size * self.merge_size
        if not self._over_all:
            from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

            found: tuple[int, int] = smart_resize(height, width, factor, least, most)
            return found
        return size_over_all(frames, height, width, self.temporal_patch_size, factor, least, most)

    def _frame(self, frame: Any, size: tuple[int, int]) -> Any:
        """One frame as channels, height, width: resized, rescaled, normalised as a picture is."""
        import numpy as np
        from transformers.image_processing_backends import PilBackend
        from transformers.image_utils import SizeDict

        own = self._pictures
        frame = np.moveaxis(frame, -1, 0)
        if own.do_resize:
            frame = PilBackend.resize(
                own, frame, SizeDict(height=size[0], width=size[1]), resample=own.resample
            )
        if own.do_rescale:
            frame = own.rescale(frame, own.rescale_factor)
        if own.do_normalize:
            frame = own.normalize(frame, own.image_mean, own.image_std)
        return np.asarray(frame, dtype=np.float32)


class Stacked:
    """LLaVA's way: `pixel_values_videos` (videos, frames, 3, height, width), or a list of them
    where videos have different numbers of frames."""

    model_input_names = ("pixel_values_videos",)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from transformers import CLIPImageProcessorPil

        self._pictures: Any = CLIPImageProcessorPil(**settings)

    def __call__(
        self, videos: Sequence[Any], video_metadata: Sequence[Any] = (), **_: Any
    ) -> dict[str, Any]:
        """The tensors of `videos` (each frames, height, width, 3)."""
        import torch

        found = [
            self._pictures(images=list(video), return_tensors="pt")["pixel_values"]
            for video in videos
        ]
        same = len({frames.shape for frames in found}) == 1
        return {
            "pixel_values_videos": torch.stack(found) if same else found,
            "video_metadata": _metadata(video_metadata),
        }


def patches_of(
    videos: torch.Tensor, patch_size: int, merge_size: int, temporal_patch_size: int
) -> tuple[torch.Tensor, int, int, int]:
    """Patches of videos (videos, frames, 3, height, width), flat, those that the model merges
    beside each other; and how many there are in time, height and width. The last frame is
    repeated where their number doesn't fill a patch. As `Qwen2VLVideoProcessor.patchify`."""
    import torch

    count, frames, channels, height, width = videos.shape
    lacks = -frames % temporal_patch_size
    if lacks:
        videos = torch.cat((videos, videos[:, -1:].expand(-1, lacks, -1, -1, -1)), dim=1)
    times = (frames + lacks) // temporal_patch_size
    down, across = height // patch_size, width // patch_size
    patches = videos.view(
        count, times, temporal_patch_size, channels,
        down // merge_size, merge_size, patch_size,
        across // merge_size, merge_size, patch_size,
    ).permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)  # fmt: skip
    flat = patches.reshape(
        count, times * down * across, channels * temporal_patch_size * patch_size**2
    )
    return flat, times, down, across


def size_over_all(
    frames: int, height: int, width: int, temporal: int, factor: int, least: int, most: int
) -> tuple[int, int]:
    """Qwen3-VL's size of a frame: multiples of `factor`, the pixels of all frames within bounds.

    As `smart_resize` of its video processor, which refuses fewer frames than a patch has in time:
    here they count as the patch that they are filled up to. Raises ValueError as it does.
    """
    frames = max(frames, temporal)
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) / min(height, width) > 200:
        raise ValueError("a frame is more than 200 times as long as wide")
    tall, wide = round(height / factor) * factor, round(width / factor) * factor
    times = round(frames / temporal) * temporal
    if times * tall * wide > most:
        shrink = math.sqrt((frames * height * width) / most)
        tall = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif times * tall * wide < least:
        grow = math.sqrt(least / (frames * height * width))
        tall = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return tall, wide


def _settings(folder: Path) -> dict[str, Any]:
    """What the model's files say of its video half, found as transformers finds it: in the
    processor's file, in a file of its own, else the settings of its pictures."""
    whole = _read(folder / "processor_config.json")
    found = (
        whole.get("video_processor")
        or _read(folder / "video_preprocessor_config.json")
        or _read(folder / "preprocessor_config.json")
        or whole.get("image_processor")
        or {}
    )
    return {name: value for name, value in found.items() if name in _KNOWN and value is not None}


def _read(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}


def _metadata(given: Sequence[Any]) -> list[Any]:
    from transformers.video_utils import VideoMetadata

    return [one if isinstance(one, VideoMetadata) else VideoMetadata(**one) for one in given]
