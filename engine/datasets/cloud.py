"""A file in a bucket (s3, gcs), fetched into the user's cache once, by fsspec."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.datasets.fetching import LineBroke, Stream, fetch_file
from engine.installed import install_command
from engine.paths import cache_dir
from engine.problem import BadInput, FinetuiError, Problem, Stopped

# The package that speaks a bucket's protocol, and the extra that brings it.
_PACKAGES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_PIECE = 1 << 20


def fetch_cloud(
    name: str,
    url: str,
    progress: Callable[[str, float, float, str], None],
    check_stop: Callable[[], object],
) -> Path:
    """The file of `url` in the cache; a newer one in the bucket is a file of its own there.

    Credentials are those of the package itself (environment, profile, application default). Raises
    BadInput for a missing package, an unknown scheme, a file that isn't there or can't be had.
    """
    scheme = url.partition("://")[0]
    if scheme not in _PACKAGES:
        raise _bad(name, f"{url!r} is not a bucket's address.", "It begins with s3:// or gs://.")
    package, extra = _PACKAGES[scheme]
    if find_spec(package) is None:
        raise _bad(
            name,
            f"{url} needs the package {package}.",
            install_command(extra),
        )
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        facts = system.info(path)
        if facts.get("type") == "directory":
            raise _bad(name, f"{url} is a folder.", "Name one file of it.")
        size = int(facts["size"])
        mark = str(facts.get("ETag") or facts.get("etag") or facts.get("LastModified") or size)
        key = hashlib.sha256(f"{url}\n{mark}".encode()).hexdigest()[:16]
        target = cache_dir() / "cloud" / key / Path(path).name

        def told(done: int) -> None:
            progress(f"Fetching {target.name}", done, size, "bytes")

        fetch_file(target, size, lambda start: _opened(system, path, start), told, check_stop)
        return target
    except (FinetuiError, Stopped):
        raise
    except FileNotFoundError:
        raise _bad(name, f"There is no file {url}.", "Check bucket and path.") from None
    except Exception as error:
        # The packages below raise errors of their own kinds, each of its cloud.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _bad(
            name,
            f"{url} could not be fetched: {lines[0].rstrip('.')}.",
            "Check the credentials and the network.",
        ) from None


@contextmanager
def _opened(system: Any, path: str, start: int) -> Iterator[Stream]:
    with system.open(path, "rb") as file:
        if start:
            file.seek(start)
        try:
            yield Stream(False, iter(lambda: file.read(_PIECE), b""))
        except (ConnectionError, TimeoutError) as error:
            raise LineBroke(str(error)) from error


def _bad(name: str, what: str, hint: str) -> BadInput:
    return BadInput(Problem(what, f"dataset {name}", hint, "dataset"))
