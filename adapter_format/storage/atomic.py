"""Several files become visible in a directory together.

A reader sees the old ones, the new ones, or an incomplete set, never a mixture that looks whole.

How `publish` goes about it, for an adapter whose config is the file to hide:

1.  It takes an exclusive lock on the directory, so that two savers do not mix their files.
2.  It writes every file in full under a temporary name in the same directory and syncs it to the disk.
3.  It moves the old files aside, the config first: without one there is no adapter, and `validate` says so.
4.  It moves the new files in, the config last. From this instant the new adapter is there.
5.  It deletes the old files.

The directory is synced after the first move of 3, before the last of 4 and after it, so that the order holds
through a power cut as well. Whatever fails before the end of 4 is taken back move by move: the old adapter is
whole again and nothing is left behind. Only a process that is killed can't clean up. Then the directory holds
the old adapter, the new one, or one without a config, and leftovers that `leftover_target` recognises, the
old files among them if they had been moved aside. A reader who opened the config before and the weights after
may still hold a mixture; it can tell, for the config that it holds open is then no longer the one in the
directory.

New files get the mode that the umask (or the default ACL of the directory) leaves of 0666, whatever the mode
of the old file was. A symlink in the place of a target is replaced; what it points to is not touched.

Where directories can't be locked (Windows, some network file systems) only the threads of one process wait
for each other; several processes that save to one directory at the same time must be kept apart by their
caller. Where directories can't be synced (Windows) the order of the moves in a power cut is up to the file
system.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from adapter_format.errors import AdapterFormatError, UsageError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    _Files = Sequence[tuple[str, Callable[[BinaryIO], None]]]

_BUFFER_BYTES = 1 << 20
"""Smaller pieces are gathered up to this size, larger ones go to the operating system from where they lie.

Page-aligned writes of this size reach the disk a tenth faster than the tensors of an adapter one by one.
"""

_LEFTOVER = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{16}(?:\.old)?\.tmp", re.DOTALL)

_UNSUPPORTED = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What file systems answer that can't lock or sync a directory."""

_ATTEMPTS = 16
"""How often the directory may vanish: a saver that made it may fail and clean up before we use it."""

_this_process = threading.Lock()


class SaveError(AdapterFormatError):
    """The files could not be written; what was there before is unchanged unless the message says so."""


def publish(directory: Path, files: Sequence[tuple[str, Callable[[BinaryIO], None]]], hide: str) -> None:
    """Write files into a directory so that they become visible together, as this module describes.

    Args:
        directory: where to; it is made if it does not exist, with its parents.
        files: names and what writes their content, in the order in which they become visible. What a writer
            raises is let through after cleaning up, except that an `OSError` becomes a `SaveError`. It is
            called again if the directory vanished meanwhile.
        hide: the name of the last one, without which readers take the directory for no adapter.

    Raises:
        UsageError: a name is no plain file name or occurs twice, or `hide` is not the last.
        SaveError: the operating system refused; nothing has changed, or the message says what has.
    """
    _check_names(directory, [name for name, _ in files], hide)
    vanished: FileNotFoundError | None = None
    for _ in range(_ATTEMPTS):
        vanished = _attempt(directory, files, hide)
        if vanished is None:
            return
    raise SaveError(
        f"The directory {str(directory)!r} can't be made: it is a symlink to nothing, or vanishes again and again."
    ) from vanished


def leftover_target(entry: str) -> str | None:
    """Return which file an interrupted `publish` left under the name `entry`, None if it is no leftover."""
    match = _LEFTOVER.fullmatch(entry)
    return match["target"] if match else None


class _Place(NamedTuple):
    """A directory that is being written to.

    Attributes:
        directory: its path.
        made: the directories that did not exist before, outermost first.
        descriptor: what paths are relative to; None where the platform has no such thing.
    """

    directory: Path
    made: Sequence[Path]
    descriptor: int | None

    def path(self, name: str) -> str:
        return name if self.descriptor is not None else os.path.join(self.directory, name)

    def opener(self, path: str, flags: int) -> int:
        return os.open(path, flags, 0o666, dir_fd=self.descriptor)

    def status(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(self.path(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def move(self, source: str, target: str) -> None:
        os.replace(self.path(source), self.path(target), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path(name), dir_fd=self.descriptor)

    def sync(self) -> None:
        if self.descriptor is not None:
            _sync_directory(self.descriptor)


def _attempt(directory: Path, files: _Files, hide: str) -> FileNotFoundError | None:
    """Publish once; return what went missing if another saver took the directory away under us."""
    try:
        with _opened(directory) as place, _exclusive(place):
            _write_and_move(place, files, hide)
    except FileNotFoundError as error:
        return error
    except OSError as error:
        raise SaveError(f"{_failure(directory, error)}; what was there before is unchanged.") from error
    return None


def _write_and_move(place: _Place, files: _Files, hide: str) -> None:
    token = secrets.token_hex(8)
    new = {name: f".{name}.{token}.tmp" for name, _ in files}
    old = {name: f".{name}.{token}.old.tmp" for name in new}
    moves: list[tuple[str, str]] = []
    try:
        _refuse_directories(place, new)
        for name, writer in files:
            _write(place, new[name], writer)
        _sync_parents(place)
        _move_in(place, hide, new, old, moves)
    except BaseException as error:
        try:
            _take_back(place, hide, moves)
        except OSError as second:
            raise SaveError(
                f"{_failure(place.directory, error)}; to put the old files back failed as well "
                f"({_reason(second)}): they are in the directory under names that end in `.{token}.old.tmp`."
            ) from error
        for name in new.values():
            with suppress(OSError):
                place.remove(name)
        raise
    try:
        try:
            place.sync()
        finally:
            for name in old.values():
                place.remove(name)
    except OSError as error:
        raise SaveError(
            f"The new files are in {str(place.directory)!r}, but the last step, to sync the directory and "
            f"delete the old files, failed: {_reason(error)}."
        ) from error


def _write(place: _Place, name: str, writer: Callable[[BinaryIO], None]) -> None:
    with open(place.path(name), "xb", buffering=_BUFFER_BYTES, opener=place.opener) as file:
        writer(file)
        file.flush()
        os.fsync(file.fileno())


def _move_in(place: _Place, hide: str, new: dict[str, str], old: dict[str, str], moves: list[tuple[str, str]]) -> None:
    """Carry out the moves of steps 3 and 4.

    Each is noted before it is made. No move has a target that exists, so that taking back one that did not
    come about finds nothing to move and does no harm.
    """

    def move(source: str, target: str) -> None:
        moves.append((source, target))
        place.move(source, target)

    for name in reversed(new):
        if place.status(name) is not None:
            move(name, old[name])
            if name == hide:
                place.sync()
    for name, temporary in new.items():
        if name == hide:
            place.sync()
        move(temporary, name)


def _take_back(place: _Place, hide: str, moves: list[tuple[str, str]]) -> None:
    for source, target in reversed(moves):
        if source == hide:
            with suppress(OSError):
                place.sync()
        with suppress(FileNotFoundError):
            place.move(target, source)


def _refuse_directories(place: _Place, names: dict[str, str]) -> None:
    for name in names:
        status = place.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise SaveError(f"{name!r} in {str(place.directory)!r} is a directory, so no file can take its place.")


@contextmanager
def _opened(directory: Path) -> Iterator[_Place]:
    """Open the directory, made if it is missing; what was made is removed on failure, if it is empty."""
    made: list[Path] = []
    try:
        _make_directories(directory, made)
        if sys.platform == "win32":
            yield _Place(directory, made, None)
        else:
            descriptor = os.open(directory, _OPEN_DIRECTORY)
            try:
                yield _Place(directory, made, descriptor)
            finally:
                os.close(descriptor)
    except BaseException:
        _remove_directories(made)
        raise


def _make_directories(directory: Path, made: list[Path]) -> None:
    missing: list[Path] = []
    path = directory
    while not path.exists() and path != path.parent:
        missing.append(path)
        path = path.parent
    for path in reversed(missing):
        made.append(path)
        try:
            os.mkdir(path)
        except FileExistsError:
            made.pop()


def _remove_directories(made: Sequence[Path]) -> None:
    for path in reversed(made):
        with suppress(OSError):
            os.rmdir(path)


@contextmanager
def _exclusive(place: _Place) -> Iterator[None]:
    if _lock(place.descriptor):
        try:
            yield
        finally:
            _unlock(place.descriptor)
    else:
        with _this_process:
            yield


if sys.platform == "win32":
    _OPEN_DIRECTORY = os.O_RDONLY

    def _lock(_descriptor: int | None) -> bool:
        return False

    def _unlock(_descriptor: int | None) -> None:
        pass

else:
    _OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

    def _lock(descriptor: int | None) -> bool:
        """Wait for the lock on a directory; return False where there are no such locks."""
        if descriptor is None:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return False
        return True

    def _unlock(descriptor: int | None) -> None:
        # To close alone is not enough: a process forked meanwhile shares the lock.
        if descriptor is not None:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)


def _sync_directory(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _sync_parents(place: _Place) -> None:
    """Make the entries of new directories last, where their parents may be read."""
    for path in () if place.descriptor is None else place.made:
        with suppress(PermissionError):
            descriptor = os.open(path.parent, _OPEN_DIRECTORY)
            try:
                _sync_directory(descriptor)
            finally:
                os.close(descriptor)


def _check_names(directory: Path, names: Sequence[str], hide: str) -> None:
    for name in names:
        if name in ("", ".", "..") or os.path.basename(name) != name or not _is_path(name):
            raise UsageError(f"{name!r} is no plain file name.")
    if len(set(names)) < len(names):
        raise UsageError(f"Two of the files have the same name: {', '.join(names)}.")
    if names[-1:] != [hide]:
        raise UsageError(f"The file to hide, {hide!r}, must be the last of those to write: {', '.join(names)}.")
    if not _is_path(os.fspath(directory)):
        raise UsageError(f"{str(directory)!r} is no path: it holds characters that file names can't have.")


def _is_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _failure(directory: Path, error: BaseException) -> str:
    return f"The files can't be written to {str(directory)!r}: {_reason(error)}"


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
