"""How a model's processor takes videos: by its own video half, or by `engine.models.videos`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.video_counts import in_pairs
from engine.datasets.media.videos import FrameChoice, Frames, read_video
from engine.models.videos import Half, lent, video_half
from engine.problem import BadInput, Problem

_FRAMES = "pixel_values_videos"


class VideoReader:
    """Videos, by the frames that the settings take of them. See `KindReader`.

    The processor is told not to choose frames again, and where in the video each stood: some
    families write those times into the text (Qwen3-VL), others count positions by them
    (Qwen2.5-VL). `half` is what the processor lacks without torchvision. `among_pictures` tells
    that the model takes frames as pictures, and one of both in a row.
    """

    def __init__(self, processor: Any, config: Any, half: Half | None) -> None:
        self.processor = processor
        self.placeholder = str(processor.video_token)
        self.token_ids = tuple(one for one in processor.video_token_ids if one is not None)
        self.choice = FrameChoice.of(config)
        self._half = half
        names = (half or processor.video_processor).model_input_names
        self.among_pictures = _FRAMES not in names

    def open(self, path: Path) -> Frames:
        return read_video(path, self.choice)

    def words(self, opened: Sequence[Frames]) -> list[str]:
        """What the processor writes in place of each video's placeholder. Raises RowFault."""
        return [self._processed(video)[0] for video in opened]

    def inputs(self, rows: Sequence[Sequence[Frames]]) -> dict[str, Any]:
        """What the forward pass takes for the videos of rows, one behind the other. Raises
        BadInput where the family can't take videos of so different lengths side by side."""
        import torch

        videos = [video for row in rows for video in row]
        once = {key: self._processed(video)[1] for key, video in {id(v): v for v in videos}.items()}
        made = [once[id(video)] for video in videos]
        found: dict[str, Any] = {}
        for name, first in made[0].items():
            values = [one[name] for one in made]
            if self.among_pictures:
                found[name] = torch.cat(values, dim=1)
            elif name == _FRAMES and first.ndim == 5:
                found[name] = _side_by_side(values, type(self.processor).__name__)
            elif isinstance(first, torch.Tensor):
                found[name] = torch.cat(values)
            else:
                found[name] = torch.tensor([one for value in values for one in value])
        return found

    def _processed(self, video: Frames) -> tuple[str, dict[str, Any]]:
        """The words for a video, and the processor's tensors of it. Raises RowFault."""
        import numpy as np

        frames = np.stack([np.asarray(picture) for picture in in_pairs(video.pictures)])
        try:
            with lent(self.processor, self._half):
                made, (text,) = self.processor._process_videos(
                    [frames],
                    do_sample_frames=False,
                    return_metadata=True,
                    video_metadata=[metadata(video)],
                    return_tensors="pt",
                )
        except (ValueError, IndexError, TypeError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RowFault(f"the model's processor refuses it: {line[:300]}") from None
        return text, {name: value for name, value in made.items() if name != "video_metadata"}


def videos_of(processor: Any, folder: Path, config: Any) -> VideoReader | None:
    """The reader of videos; None for a processor without a place for them in its text, and for
    families whose frames only torchvision lays out, where that isn't here."""
    if not getattr(processor, "video_token", None):
        return None
    own = getattr(processor, "video_processor", None)
    if own is None:
        half = video_half(folder)
        return None if half is None else VideoReader(processor, config, half)
    return VideoReader(processor, config, None)


def metadata(video: Frames) -> dict[str, Any]:
    """A video as transformers' `VideoMetadata` has it."""
    facts = video.facts
    return {
        "total_num_frames": facts.frames,
        "fps": facts.fps,
        "width": facts.width,
        "height": facts.height,
        "duration": facts.seconds,
        "frames_indices": in_pairs(video.places),
    }


def _side_by_side(videos: Sequence[Any], processor: str) -> Any:
    """Stacked frames (1, frames, 3, height, width) of several videos as one tensor."""
    import torch

    if len({video.shape[1] for video in videos}) == 1:
        return torch.cat(list(videos))
    if processor.startswith("LlavaOnevision"):  # it closes each video with a token of its own
        raise BadInput(
            Problem(
                "LLaVA-OneVision can't take videos of different numbers of frames side by side.",
                "dataset",
                "Set per_device_train_batch_size to 1, or video_maxlen so low that all videos "
                "have as many frames.",
                "per_device_train_batch_size",
            )
        )
    return torch.cat(list(videos), dim=1)
