"""Pictures, videos and sounds beside the text: sizes, and which parts of the model are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# The stages that train on rows with pictures.
PICTURE_STAGES = ("sft", "dpo")


def _pictures(config: Any) -> bool:
    return config.stage in PICTURE_STAGES


@group
class MediaGroup:
    """Pictures: their size, and the parts of a vision-language model that stay as they are."""

    image_max_pixels: int = setting(
        768 * 768,
        label="Largest picture",
        section="Pictures, video, sound",
        unit="pixels",
        help="Width times height of a picture at the most; larger ones are shrunk in shape before "
        "the model's own processor takes them.",
        higher="shows small print and details; more tokens a picture, memory and time",
        lower="fewer tokens a picture in families that read pictures at their own size",
        usual="262144 … 1048576",
        goes_with=("image_min_pixels", "cutoff_len"),
        applies=_pictures,
        ge=1,
    )
    image_min_pixels: int = setting(
        32 * 32,
        label="Smallest picture",
        section="Pictures, video, sound",
        unit="pixels",
        help="Width times height of a picture at the least; smaller ones are grown in shape.",
        usual="1024",
        goes_with=("image_max_pixels",),
        applies=_pictures,
        ge=1,
    )
    image_do_pan_and_scan: bool = setting(
        False,
        label="Pan and scan",
        section="Pictures, video, sound",
        help="Gives Gemma 3 crops of a long or tall picture beside the whole of it; other families "
        "take no notice.",
        higher="reads more of long pictures, with the tokens of each crop",
        usual="off",
        goes_with=("cutoff_len",),
        applies=_pictures,
    )
    crop_to_patches: bool = setting(
        False,
        label="Tiles",
        section="Pictures, video, sound",
        help="Cuts a picture into tiles where the family can (InternVL, Aya Vision, GOT-OCR); "
        "other families take no notice.",
        higher="reads more of large pictures, with the tokens of each tile",
        usual="off",
        goes_with=("cutoff_len",),
        applies=_pictures,
    )
    video_max_pixels: int = setting(
        256 * 256,
        label="Largest frame of a video",
        section="Pictures, video, sound",
        unit="pixels",
        help="Width times height of a video's frame at the most; larger ones are shrunk in shape "
        "before the model's own processor takes them.",
        higher="shows details; more tokens a frame, memory and time",
        lower="fewer tokens a frame in families that read frames at their own size",
        usual="50176 … 262144",
        goes_with=("video_min_pixels", "video_maxlen", "cutoff_len"),
        applies=_pictures,
        ge=1,
        needs="video",
    )
    video_min_pixels: int = setting(
        16 * 16,
        label="Smallest frame of a video",
        section="Pictures, video, sound",
        unit="pixels",
        help="Width times height of a video's frame at the least; smaller ones are grown in shape.",
        usual="256",
        goes_with=("video_max_pixels",),
        applies=_pictures,
        ge=1,
        needs="video",
    )
    video_fps: float = setting(
        2.0,
        label="Frames a second of video",
        section="Pictures, video, sound",
        help="How many frames of each second of a video the model is shown, evenly from the first "
        "to the last.",
        higher="follows quick movements; more tokens a second of video",
        lower="longer videos fit into the cutoff",
        usual="1 … 4",
        goes_with=("video_maxlen", "cutoff_len"),
        applies=_pictures,
        gt=0,
        needs="video",
    )
    video_maxlen: int = setting(
        128,
        label="Most frames of a video",
        section="Pictures, video, sound",
        help="How many frames of a video the model is shown at the most; of longer videos they "
        "stand further apart.",
        higher="shows more of long videos; more tokens, memory and time",
        lower="bounds what a long video costs",
        usual="16 … 128",
        goes_with=("video_fps", "cutoff_len"),
        applies=_pictures,
        ge=1,
        needs="video",
    )
    audio_sampling_rate: int = setting(
        16000,
        label="Samples a second of sound",
        section="Pictures, video, sound",
        unit="Hz",
        help="The rate that sounds are brought to before the model's own processor takes them; it "
        "must be the one that the model hears.",
        usual="16000, as nearly all models hear",
        goes_with=("cutoff_len",),
        applies=_pictures,
        ge=1000,
        le=192000,
        needs="sound",
    )
    media_dir: str | None = setting(
        None,
        label="Folder of media",
        section="Pictures, video, sound",
        help="Where the rows' paths of pictures, videos and sounds start; left empty it is the "
        "dataset folder.",
        usual="empty",
        goes_with=("dataset_dir",),
        applies=_pictures,
    )
    freeze_vision_tower: bool = setting(
        True,
        label="Freeze the vision tower",
        section="Pictures, video, sound",
        help="Leaves the part of a model that looks at pictures, or listens to sounds, as it is.",
        higher="on: less memory, and the model sees as it did",
        lower="off: it can learn to see pictures of another kind",
        usual="on, unless the pictures are unlike photographs",
        goes_with=("freeze_multi_modal_projector", "learning_rate"),
        applies=_pictures,
    )
    freeze_multi_modal_projector: bool = setting(
        True,
        label="Freeze the projector",
        section="Pictures, video, sound",
        help="Leaves the layers between the vision tower and the language model as they are.",
        higher="on: less memory",
        lower="off: what is seen can be told to the language model in another way",
        usual="on; off with a new vision tower",
        goes_with=("freeze_vision_tower", "freeze_language_model"),
        applies=_pictures,
    )
    freeze_language_model: bool = setting(
        False,
        label="Freeze the language model",
        section="Pictures, video, sound",
        help="Leaves the part of a vision-language model that writes as it is.",
        higher="on: only the projector or the vision tower is trained",
        lower="off: it can learn new answers",
        usual="off; on for the first stage of a new projector",
        goes_with=("freeze_vision_tower", "freeze_multi_modal_projector"),
        applies=_pictures,
    )


def pixels_in_order(config: RunConfig) -> Problem | None:
    """Rule 2: the largest picture, or frame of a video, is no smaller than the smallest."""
    for kind in ("image", "video"):
        most = getattr(config, f"{kind}_max_pixels")
        least = getattr(config, f"{kind}_min_pixels")
        if most < least:
            return Problem(
                f"{kind}_max_pixels {most:,} is below {kind}_min_pixels {least:,}.",
                hint=f"Raise it to at least {least:,}, or lower {kind}_min_pixels.",
                setting=f"{kind}_max_pixels",
            )
    return None


def some_part_is_trained(config: RunConfig) -> Problem | None:
    """Tower, projector and language model frozen together leave nothing to train."""
    frozen = (
        config.freeze_vision_tower,
        config.freeze_multi_modal_projector,
        config.freeze_language_model,
    )
    if config.do_train and all(frozen):
        return Problem(
            "With vision tower, projector and language model frozen nothing would be trained.",
            hint="Switch one of freeze_language_model, freeze_multi_modal_projector and "
            "freeze_vision_tower off.",
            setting="freeze_language_model",
        )
    return None


RULES = (("2", pixels_in_order), ("o70", some_part_is_trained))

REMARKS: tuple[Any, ...] = ()
