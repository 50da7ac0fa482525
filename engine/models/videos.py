"""The video half of a model's processor without torchvision: frames into the tensors of its family.

transformers 5.24 has video processors on torchvision only, and torchvision from PyPI breaks
transformers beside a CPU build of torch. The work is a frame's own (resize, crop, rescale,
normalise: as the family's picture processor does it on PIL) and a family's way of laying frames
out, which is written here after `video_processing_*.py` of transformers 5.24:

- Qwen2-VL, Qwen2.5-VL: each frame resized within the pixels of a frame; then patches of two frames;
- Qwen3-VL, Qwen3.5: the same with pixels counted over all frames of the video;
- LLaVA-NeXT-Video, Video-LLaVA, LLaVA-OneVision: frames of one size, stacked;
- SmolVLM: frames of one size, handed on as its pictures are.

The text that stands for a video is the processor's own work, here as with torchvision: it asks its
`video_processor`, and `lent` puts one in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.media.video_counts import (
    FRAMED,
    PATCHED,
    QWEN3,
    STACKED,
    frame_size,
    video_settings,
)
from engine.models.folder import read_json

if TYPE_CHECKING:
    import torch


@contextmanager
def lent(processor: Any, half: Half | None) -> Iterator[None]:
    """A processor that was loaded without torchvision with a video half, for as long as it works
    on videos: what is written into its files is no concern of the half. None leaves it its own."""
    if half is None:
        yield
        return
    before = vars(processor).pop("video_processor", None)
    processor.video_processor = half
    try:
        yield
    finally:
        del processor.video_processor
        if before is not None:
            processor.video_processor = before


def video_half(folder: Path) -> Half | None:
    """The video half for the model in `folder`; None for a family that isn't known here."""
    kind = str(read_json(folder / "config.json").get("model_type"))
    if kind in PATCHED:
        return Patched(video_settings(folder), PATCHED[kind] is QWEN3)
    if kind in STACKED:
        return Stacked(video_settings(folder))
    if kind in FRAMED:
        return Framed(video_settings(folder))
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
        settings = {
            "size": {name: edges[name] for name in ("shortest_edge", "longest_edge")},
            "patch_size": self.patch_size,
            "merge_size": self.merge_size,
            "temporal_patch_size": self.temporal_patch_size,
        }
        return frame_size(settings, frames, height, width, self._over_all)

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


class Framed:
    """SmolVLM's way: frames are pictures that are not split, `pixel_values` (1, frames, 3, height,
    width) of one video with their `pixel_attention_mask`."""

    model_input_names = ("pixel_values", "pixel_attention_mask")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from transformers import SmolVLMImageProcessorPil

        self._pictures: Any = SmolVLMImageProcessorPil(**settings, do_image_splitting=False)

    def __call__(
        self, videos: Sequence[Any], video_metadata: Sequence[Any] = (), **_: Any
    ) -> dict[str, Any]:
        """The tensors of one video (frames, height, width, 3)."""
        (video,) = videos
        found = self._pictures(images=[list(video)], return_tensors="pt")
        return {
            **{name: found[name] for name in self.model_input_names},
            "video_metadata": _metadata(video_metadata),
        }


Half = Patched | Stacked | Framed


def joined(made: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The pictures and frames of rows, each (1, pictures, …), one behind the other."""
    import torch

    names = made[0] if made else {}
    return {name: torch.cat([one[name].flatten(0, 1) for one in made])[None] for name in names}


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


def _metadata(given: Sequence[Any]) -> list[Any]:
    from transformers.video_utils import VideoMetadata

    return [one if isinstance(one, VideoMetadata) else VideoMetadata(**one) for one in given]
