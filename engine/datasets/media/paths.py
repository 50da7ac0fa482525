"""From what a row calls a medium to its file; pictures opened and checked."""

from __future__ import annotations

from functools import lru_cache
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.medium import Medium, word
from engine.paths import default_dataset_dir

if TYPE_CHECKING:
    from PIL.Image import Image


def media_root(config: Any) -> Path:
    """The folder that relative paths of media start from: media_dir, else the dataset folder."""
    given = config.media_dir or config.dataset_dir
    if given and not str(given).startswith("REMOTE:") and str(given) != "ONLINE":
        return Path(given).expanduser()
    return default_dataset_dir()


def find_medium(root: Path, medium: Medium) -> Path:
    """The file of `medium`: below `root`, or a whole path as it is; of a video also a folder of
    frames. Raises RowFault."""
    name, what = medium.name, word(medium.kind)
    if "://" in name:
        raise RowFault(f"the {what} {name} is on the network: save it as a file first")
    if normpath(name).split("/")[0] == "..":
        raise RowFault(f"the {what} {name} lies outside of {root}: set media_dir to its folder")
    for path in (root / name, Path(name).expanduser()):
        try:
            if path.is_file() or (medium.kind == "video" and name and path.is_dir()):
                return path
        except (OSError, ValueError):  # a name too long for a file, or with a zero in it
            break
    raise RowFault(f"there is no {what} {name} in {root} (media_dir says where to look)")


def find_picture(root: Path, name: str) -> Path:
    """`find_medium` of a picture."""
    return find_medium(root, Medium("image", name))


def open_picture(path: Path) -> Image:
    """The picture upright, as RGB; what is see-through becomes white. Raises RowFault."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                behind = Image.new("RGBA", upright.size, "white")
                return Image.alpha_composite(behind, upright.convert("RGBA")).convert("RGB")
            return upright.convert("RGB")
    except Image.DecompressionBombError:
        raise RowFault(f"the picture {path.name} has more pixels than is safe to open") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise RowFault(f"{path.name} is no picture that can be read ({_reason(error)})") from None


@lru_cache(maxsize=4096)
def _size_at(path: Path, _changed: tuple[int, int, int]) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            width, height = opened.size
            # Orientations 5 to 8 lie on their side.
            turned = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except Image.DecompressionBombError:
        raise RowFault(f"the picture {path.name} has more pixels than is safe to open") from None
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise RowFault(f"{path.name} is no picture that can be read ({_reason(error)})") from None
    return (height, width) if turned else (width, height)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's head alone. Raises RowFault."""
    state = path.stat()
    return _size_at(path, (state.st_size, state.st_mtime_ns, state.st_ctime_ns))


def _reason(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if first.startswith("cannot identify image file"):
        return "its content is of no known kind"
    return first[:80]
