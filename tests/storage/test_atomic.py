"""Whatever happens while files are published, the directory holds the old adapter, the new one, or none."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from adapter_format.errors import UsageError
from adapter_format.storage.atomic import SaveError, leftover_target, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
README = "README.md"

OLD = {README: b"old readme", WEIGHTS: b"old weights" * 10, CONFIG: b"old config"}
NEW = {README: b"new readme", WEIGHTS: b"new weights" * 20_000, CONFIG: b"new config"}


class Killed(BaseException):
    """Stands for the end of the process: nothing that is done after it has any effect."""


def files_of(content: dict[str, bytes]) -> list[tuple[str, Callable[[BinaryIO], None]]]:
    def writer(data: bytes) -> Callable[[BinaryIO], None]:
        def write(file: BinaryIO) -> None:
            for start in range(0, len(data), 70_000):
                file.write(data[start : start + 70_000])

        return write

    return [(name, writer(data)) for name, data in content.items()]


def put(directory: Path, content: dict[str, bytes]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (directory / name).write_bytes(data)


def found(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def visible(directory: Path) -> dict[str, bytes]:
    return {name: data for name, data in found(directory).items() if leftover_target(name) is None}


class Faults:
    """Counts the calls that `publish` makes of the operating system, and lets the k-th one go wrong."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        at: int,
        error: BaseException,
        *,
        after: bool = False,
        forever: bool = False,
    ) -> None:
        self.count = 0
        self.at = at
        self.error = error
        self.after = after
        self.forever = forever
        for name in ("open", "fsync", "replace", "unlink", "stat", "fstat", "mkdir", "rmdir"):
            patch.setattr(os, name, self.wrapped(getattr(os, name)))
        patch.setattr(fcntl, "flock", self.wrapped(fcntl.flock))

    def wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            now = self.count == self.at
            if (now and not self.after) or (self.forever and self.count > self.at):
                raise self.error
            result = call(*arguments, **options)
            if now and self.after:
                raise self.error
            return result

        return counted


def each_fault(
    tmp_path: Path,
    start: dict[str, bytes] | None,
    error: BaseException,
    *,
    after: bool = False,
    forever: bool = False,
) -> Iterator[tuple[Path, BaseException]]:
    """Publish NEW over `start` again and again, the k-th call going wrong, until k is beyond the last."""
    for at in range(1, 100):
        root = tmp_path / str(at)
        root.mkdir()
        directory = root / "deep" / "adapter"
        if start is not None:
            put(directory, start)
        outcome = None
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, at, error, after=after, forever=forever)
            try:
                publish(directory, files_of(NEW), CONFIG)
            except (SaveError, OSError, KeyboardInterrupt, Killed) as raised:
                outcome = raised
        if outcome is None and faults.count < at:
            assert at > 20, "the faults do not reach the calls"
            return
        if outcome is not None:
            yield directory, outcome
    pytest.fail("there is no end to the calls")


def eio() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


def test_new_directory_holds_exactly_the_files(tmp_path: Path) -> None:
    publish(tmp_path / "some" / "where", files_of(NEW), CONFIG)
    assert found(tmp_path / "some" / "where") == NEW


def test_existing_files_are_replaced_and_foreign_ones_left(tmp_path: Path) -> None:
    put(tmp_path, {**OLD, "notes.txt": b"mine"})
    publish(tmp_path, files_of(NEW), CONFIG)
    assert found(tmp_path) == {**NEW, "notes.txt": b"mine"}


def test_failure_at_any_call_leaves_the_old_or_the_new_adapter_alone(tmp_path: Path) -> None:
    outcomes = set()
    for directory, error in each_fault(tmp_path, OLD, eio()):
        assert isinstance(error, SaveError)
        assert isinstance(error.__cause__, OSError)
        committed = "The new files are in" in str(error)
        outcomes.add(committed)
        if committed:
            assert visible(directory) == NEW
        else:
            assert found(directory) == (NEW if is_new(directory) else OLD)
    assert outcomes == {True, False}


def test_failure_at_any_call_in_a_new_directory_leaves_nothing_or_the_adapter(tmp_path: Path) -> None:
    for directory, error in each_fault(tmp_path, None, eio()):
        assert isinstance(error, SaveError)
        if directory.exists():
            assert found(directory) == NEW
        else:
            assert list(directory.parents[1].iterdir()) == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_interrupt_at_any_call_leaves_the_old_or_the_new_adapter(tmp_path: Path, *, after: bool) -> None:
    for directory, error in each_fault(tmp_path, OLD, KeyboardInterrupt(), after=after):
        assert isinstance(error, KeyboardInterrupt)
        assert visible(directory) == NEW if is_new(directory) else found(directory) == OLD


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("start", [OLD, {}, None], ids=["over-old", "into-empty", "into-none"])
def test_kill_at_any_call_leaves_old_new_or_no_config(
    tmp_path: Path, start: dict[str, bytes] | None, *, after: bool
) -> None:
    states = set()
    for directory, error in each_fault(tmp_path, start, Killed(), after=after, forever=True):
        assert isinstance(error, Killed)
        seen = visible(directory) if directory.exists() else {}
        states.add(seen.get(CONFIG))
        assert seen in (NEW, start or {}) or CONFIG not in seen
    assert states >= {None, NEW[CONFIG]}


def test_disk_that_stays_dead_leaves_old_new_or_no_config_and_says_where_the_old_files_are(
    tmp_path: Path,
) -> None:
    for directory, error in each_fault(tmp_path, OLD, eio(), forever=True):
        assert isinstance(error, SaveError)
        seen = visible(directory)
        if seen not in (OLD, NEW):
            assert CONFIG not in seen
            assert ".old.tmp" in str(error)
            aside = {leftover_target(name): data for name, data in found(directory).items() if ".old." in name}
            assert {**aside, **seen} | aside == {**seen, **aside}
            assert aside[CONFIG] == OLD[CONFIG]


def test_old_files_can_be_put_back_by_hand_after_any_kill(tmp_path: Path) -> None:
    for directory, _ in each_fault(tmp_path, OLD, Killed(), forever=True):
        seen = found(directory)
        if seen.get(CONFIG) != NEW[CONFIG]:
            kept = {name: data for name, data in seen.items() if name in OLD}
            aside = {leftover_target(name): data for name, data in seen.items() if name.endswith(".old.tmp")}
            assert {**kept, **aside} == OLD


def test_everything_is_synced_in_the_order_that_a_power_cut_needs(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    trace: list[str] = []
    fsync, replace = os.fsync, os.replace

    def traced_sync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        trace.append("sync directory" if folder else "sync file")
        fsync(descriptor)

    def traced_replace(source: str, target: str, **options: Any) -> None:
        aside = target.endswith(".old.tmp")
        trace.append(f"{source} out" if aside else f"{target} in")
        replace(source, target, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", traced_sync)
        patch.setattr(os, "replace", traced_replace)
        publish(tmp_path, files_of(NEW), CONFIG)
    assert trace == [
        *["sync file"] * 3,
        f"{CONFIG} out",
        "sync directory",
        f"{WEIGHTS} out",
        f"{README} out",
        f"{README} in",
        f"{WEIGHTS} in",
        "sync directory",
        f"{CONFIG} in",
        "sync directory",
    ]


def is_new(directory: Path) -> bool:
    return (directory / CONFIG).read_bytes() == NEW[CONFIG]


def test_error_of_a_writer_is_let_through_and_leaves_nothing(tmp_path: Path) -> None:
    def broken(file: BinaryIO) -> None:
        file.write(b"half")
        raise ValueError("no more")

    files = [*files_of({WEIGHTS: b"new"}), (CONFIG, broken)]
    with pytest.raises(ValueError, match="no more"):
        publish(tmp_path / "new", files, CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_adapter_and_says_so(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(SaveError, match=r"File too large; what was there before is unchanged\.$"):
            publish(tmp_path, files_of(NEW), CONFIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found(tmp_path) == OLD


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_is_what_the_umask_leaves_whatever_it_was_before(tmp_path: Path, umask: int, mode: int) -> None:
    put(tmp_path, {CONFIG: b"old"})
    (tmp_path / CONFIG).chmod(0o640)
    before = os.umask(umask)
    try:
        publish(tmp_path, files_of(NEW), CONFIG)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {mode}


def test_symlink_at_a_target_is_replaced_and_its_victim_left(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    directory = tmp_path / "adapter"
    directory.mkdir()
    for name in NEW:
        (directory / name).symlink_to(victim)
    publish(directory, files_of(NEW), CONFIG)
    assert victim.read_bytes() == b"precious"
    assert found(directory) == NEW
    assert not any(path.is_symlink() for path in directory.iterdir())


def test_dangling_symlink_at_a_target_is_put_back_on_failure(tmp_path: Path) -> None:
    (tmp_path / CONFIG).symlink_to("nowhere")
    with pytest.MonkeyPatch.context() as patch:
        replace = os.replace

        def once(source: str, target: str, **options: Any) -> None:
            if target == WEIGHTS:
                raise eio()
            replace(source, target, **options)

        patch.setattr(os, "replace", once)
        with pytest.raises(SaveError):
            publish(tmp_path, files_of(NEW), CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]
    assert (tmp_path / CONFIG).readlink() == Path("nowhere")


def test_directory_at_a_target_is_refused_before_anything_changes(tmp_path: Path) -> None:
    put(tmp_path, {CONFIG: OLD[CONFIG]})
    (tmp_path / WEIGHTS).mkdir()
    with pytest.raises(SaveError, match=f"{WEIGHTS}.*is a directory"):
        publish(tmp_path, files_of(NEW), CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS]


def test_file_in_place_of_the_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SaveError, match="Not a directory"):
        publish(tmp_path / "file", files_of(NEW), CONFIG)
    with pytest.raises(SaveError, match="Not a directory"):
        publish(tmp_path / "file" / "below", files_of(NEW), CONFIG)


def test_dangling_symlink_in_place_of_the_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(SaveError, match="symlink to nothing"):
        publish(tmp_path / "link", files_of(NEW), CONFIG)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "../evil", "nul\0", "\ud800"])
def test_name_that_leaves_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no plain file name"):
        publish(tmp_path / "new", files_of({name: b"", CONFIG: b""}), CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_file_to_hide_must_be_the_last(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be the last"):
        publish(tmp_path, files_of({CONFIG: b"", WEIGHTS: b""}), CONFIG)


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same name"):
        publish(tmp_path, files_of({CONFIG: b""}) * 2, CONFIG)


def test_leftovers_are_recognised_and_other_names_are_not() -> None:
    assert leftover_target(f".{WEIGHTS}.0123456789abcdef.tmp") == WEIGHTS
    assert leftover_target(f".{WEIGHTS}.0123456789abcdef.old.tmp") == WEIGHTS
    for name in (
        WEIGHTS,
        ".tmpXYZ",
        ".0123456789abcdef.tmp",
        f"{WEIGHTS}.0123456789abcdef.tmp",
        f".{WEIGHTS}.0123456789abcdef.tmp~",
    ):
        assert leftover_target(name) is None


def version(number: int) -> dict[str, bytes]:
    """Return an adapter both of whose files tell which one it is."""
    return {WEIGHTS: b"%d" % number * 50_000, CONFIG: b"%d" % number}


def consistent(directory: Path) -> bool:
    seen = visible(directory)
    return CONFIG not in seen or seen == version(int(seen[CONFIG]))


def test_threads_that_save_at_once_leave_one_adapter_whole(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "adapter"

    def save(number: int) -> None:
        for _ in range(5):
            publish(directory, files_of(version(number)), CONFIG)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(save, number) for number in range(1, 5)]:
            done.result()
    assert consistent(directory)
    assert sorted(found(directory)) == [CONFIG, WEIGHTS]


def test_a_saver_that_fails_does_not_pull_the_directory_from_under_another(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "adapter"

    def broken(file: BinaryIO) -> None:
        raise ValueError

    def fail() -> None:
        for _ in range(30):
            with suppress(ValueError):
                publish(directory, [(CONFIG, broken)], CONFIG)

    def save() -> None:
        for _ in range(30):
            publish(directory, files_of(version(1)), CONFIG)
            for name in version(1):
                (directory / name).unlink()
            with suppress(OSError):
                directory.rmdir()

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(fail), pool.submit(fail), pool.submit(save)]:
            done.result()


def test_without_directory_locks_threads_still_wait_for_each_other(tmp_path: Path) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        test_threads_that_save_at_once_leave_one_adapter_whole(tmp_path)


SAVE_FOREVER = """
import sys
from pathlib import Path
from adapter_format.storage.atomic import publish
number = int(sys.argv[2])
weights = ("adapter_model.safetensors", lambda file: file.write(b"%d" % number * 50_000))
config = ("adapter_config.json", lambda file: file.write(b"%d" % number))
print(flush=True)
while True:
    publish(Path(sys.argv[1]), [weights, config], "adapter_config.json")
"""


def saver(directory: Path, number: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE_FOREVER, str(directory), str(number)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_processes_that_save_and_are_killed_never_leave_a_mixture(tmp_path: Path) -> None:
    for delay in (0.0, 0.011, 0.023, 0.052, 0.087):
        savers = [saver(tmp_path, number) for number in (1, 2)]
        time.sleep(delay)
        for process in savers:
            process.kill()
            process.communicate()
        assert consistent(tmp_path)


def test_reader_that_holds_the_config_open_can_tell_a_mixture(tmp_path: Path) -> None:
    publish(tmp_path, files_of(version(1)), CONFIG)
    savers = [saver(tmp_path, number) for number in (2, 3)]
    try:
        pairs = 0
        deadline = time.monotonic() + 20
        while pairs < 200 and time.monotonic() < deadline:
            with suppress(FileNotFoundError), (tmp_path / CONFIG).open("rb") as config:
                number = int(config.read())
                weights = (tmp_path / WEIGHTS).read_bytes()
                if os.path.samestat(os.fstat(config.fileno()), (tmp_path / CONFIG).stat()):
                    assert weights == version(number)[WEIGHTS]
                    pairs += 1
        assert pairs > 0
    finally:
        for process in savers:
            process.kill()
            process.communicate()
