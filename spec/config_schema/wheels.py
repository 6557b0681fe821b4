"""The released wheels of PEFT, as source text: downloaded with pip, opened as archives, never imported."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RELEASES = (
    "0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.6.1", "0.6.2", "0.7.0", "0.7.1", "0.8.0", "0.8.1",
    "0.8.2", "0.9.0", "0.10.0", "0.11.0", "0.11.1", "0.12.0", "0.13.0", "0.13.1", "0.13.2", "0.14.0", "0.15.0",
    "0.15.1", "0.15.2", "0.16.0", "0.17.0", "0.17.1", "0.18.0", "0.18.1", "0.19.0", "0.19.1", "0.20.0", "0.21.0",
    "0.21.1", "0.21.2",
)  # fmt: skip
"""Every release from the first that could save an adapter in today's form, in order. A new one is added here."""


def fetch(folder: Path, releases: tuple[str, ...] = RELEASES) -> None:
    """Download the wheels that a folder does not hold yet.

    Raises:
        subprocess.CalledProcessError: pip could not get one of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for release in releases:
        if not wheel(folder, release).exists():
            options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
            subprocess.run([sys.executable, "-m", "pip", "download", *options, f"peft=={release}"], check=True)


def wheel(folder: Path, release: str) -> Path:
    """Return where the wheel of a release stands, or will stand."""
    return folder / f"peft-{release}-py3-none-any.whl"


def sources(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of every Python module in a wheel; a package goes by its own name."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith("peft/") and name.endswith(".py"):
                module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                yield module, archive.read(name).decode("utf-8")
