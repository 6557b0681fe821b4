"""A directory as it is on disk; nothing in it is opened."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from adapter_format.limits import DEFAULT_LIMITS, Limits


class Entry(NamedTuple):
    """One name in a directory.

    Attributes:
        name: as listed.
        kind: `file`, `folder` or `other` (device, FIFO, socket, dangling link), links resolved.
        size: bytes, 0 for anything but a file.
        executable: whether a file may be executed by somebody.
        link: target text of a symbolic link, "" for none.
        leaves: whether a link leads out of the adapter (a model hub's cache layout does not count as leaving).
    """

    name: str
    kind: str
    size: int
    executable: bool
    link: str
    leaves: bool


class Listing(NamedTuple):
    """A directory's entries by name.

    Attributes:
        entries: sorted by name.
        truncated: whether there were more than the limit.
        path: the directory.
        unreadable: why the directory could not be listed, "" if it could.
    """

    entries: dict[str, Entry]
    path: str
    truncated: bool = False
    unreadable: str = ""

    def file(self, name: str) -> Entry | None:
        """Return the entry of a regular file inside the adapter, or None."""
        entry = self.entries.get(name)
        return entry if entry is not None and entry.kind == "file" and not entry.leaves else None


def list_directory(path: str, limits: Limits = DEFAULT_LIMITS) -> Listing:
    """List a directory without opening anything in it."""
    entries: dict[str, Entry] = {}
    truncated = False
    try:
        with os.scandir(path) as found:
            for item in found:
                if len(entries) >= limits.directory_entries:
                    truncated = True
                    break
                entries[item.name] = _entry(path, item)
    except OSError as error:
        return Listing({}, path, unreadable=error.strerror or str(error))
    if entries and all(entry.kind == "other" for entry in entries.values()) and not os.access(path, os.X_OK):
        return Listing({}, path, unreadable="it may not be entered")
    return Listing(dict(sorted(entries.items())), path, truncated)


def _entry(folder: str, item: os.DirEntry[str]) -> Entry:
    link, leaves = "", False
    try:
        if item.is_symlink():
            link = os.readlink(item.path)
            leaves = _leaves(folder, item.path)
        status = item.stat()
    except OSError:
        return Entry(item.name, "other", 0, executable=False, link=link, leaves=leaves)
    if stat.S_ISREG(status.st_mode):
        executable = bool(status.st_mode & 0o111) and os.name == "posix"
        return Entry(item.name, "file", status.st_size, executable, link, leaves)
    kind = "folder" if stat.S_ISDIR(status.st_mode) else "other"
    return Entry(item.name, kind, 0, executable=False, link=link, leaves=leaves)


def _leaves(folder: str, path: str) -> bool:
    root = os.path.realpath(folder)
    target = os.path.realpath(path)
    if target == root or target.startswith(root + os.sep):
        return False
    # A hub cache keeps `snapshots/<revision>/<file>` as links to `blobs/<hash>` of the same repository.
    snapshots, _ = os.path.split(root)
    repository, name = os.path.split(snapshots)
    inside_cache = name == "snapshots" and os.path.dirname(target) == os.path.join(repository, "blobs")
    return not inside_cache
