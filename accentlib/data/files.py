"""The known data files: their SHA-256, the cache, and how they are downloaded into it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from tqdm import TqdmWarning

from accentlib.errors import DataError

with warnings.catch_warnings():
    # In a notebook without widgets pooch's progress bar warns on import; the plain bar will do.
    warnings.simplefilter("ignore", TqdmWarning)
    import pooch

CACHE_VARIABLE = "ACCENT_CACHE"
OFFLINE_VARIABLE = "ACCENT_OFFLINE"
ARCHIVE = "ml-100k.zip"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
RELATIONS = ("auxiliary-mapping.txt", "relational_data.csv")

SHA256 = {
    ARCHIVE: "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    WHEEL: "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
    "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
    "auxiliary-mapping.txt": "ac7b931c8cae0ec49b75b8d5e199320a8f749994324c4f2de6ee6ce67eb2a3c1",
    "relational_data.csv": "8203a76e30aebdc52f6d8357db07b3f7d2fbb647a6482cb0462f6cf5f2772c34",
}

# Called with what to fetch, the path to write to, and pooch's manager (always None here).
Downloader = Callable[[str, Any, Any], None]


def cache_folder() -> Path:
    """The folder named by ACCENT_CACHE, or the user's cache folder. It need not exist yet."""
    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("accentlib"))


def checked(path: Path, in_cache: bool = False) -> Path:
    """`path`, if its SHA-256 is the known one for its name; otherwise DataError, and the file stays as it is."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"The file {path} cannot be read: {error.strerror}.") from error
    if found != SHA256[path.name]:
        way_out = "delete it to have it fetched again" if in_cache else "put the original file in its place"
        raise DataError(
            f"The file {path} is altered or truncated (its SHA-256 begins with {found[:12]}, "
            f"that of the original with {SHA256[path.name][:12]}); {way_out}."
        )
    return path


def download(name: str, url: str, downloader: Downloader) -> Path:
    """Fetch into the cache. Pooch writes to a temporary file, checks it, and only then gives it its name.

    OSError if the environment variable ACCENT_OFFLINE is set: then only what is there already counts.
    """
    if os.environ.get(OFFLINE_VARIABLE):
        raise OSError(f"{OFFLINE_VARIABLE} is set")
    pooch.get_logger().setLevel("WARNING")  # its bar tells enough
    return Path(pooch.retrieve(url, SHA256[name], fname=name, path=cache_folder(), downloader=downloader))


def http(url: str, output: Any, manager: Any) -> None:
    pooch.HTTPDownloader(progressbar=True, timeout=(5, 30))(url, output, manager)


def pip_download(requirement: str, output: Any, manager: Any) -> None:
    """Have pip fetch the wheel, so that the user's own index, proxy and certificates are respected."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=1"]
        # pip draws its progress bar on a terminal only; standard output belongs to our caller.
        bar = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
        done = subprocess.run([*command, "-d", folder, requirement], stdout=bar, stderr=subprocess.PIPE, text=True)
        wheel = Path(folder) / WHEEL
        if done.returncode != 0 or not wheel.exists():
            raise OSError(_last_error(done.stderr) or f"pip brought no {WHEEL}")
        shutil.copyfile(wheel, output)


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return f"pip says {errors[-1].removeprefix('ERROR: ')!r}" if errors else ""


def reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.RequestException):
        return f"the download broke off ({type(error).__name__})"
    if "hash" in str(error):
        return "what came is not the known file, its SHA-256 differs"
    return str(error).strip().rstrip(".")
