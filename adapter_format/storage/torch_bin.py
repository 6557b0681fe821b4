"""The table of contents of a torch `.bin` file, without torch and without unpickling.

Only what a zip directory and the strings in a pickle's opcodes say is read: nothing is imported, built or called.
"""

from __future__ import annotations

import os
import pickletools
import zipfile
from typing import NamedTuple

from adapter_format.storage.regular_file import open_file

_PICKLE_LIMIT = 16_000_000


class BinContents(NamedTuple):
    """What a `.bin` file seems to hold.

    Attributes:
        keys: the strings in the pickle that look like tensor keys; None if it can't be told.
        nbytes: bytes of tensor data.
    """

    keys: frozenset[str] | None
    nbytes: int


def read_contents(path: str) -> BinContents:
    """Read the table of contents of a torch zip container.

    Returns:
        The contents; `keys` is None for the older raw pickle and for anything that is not understood.

    Raises:
        UnreadableAdapterError: the file can't be opened.
    """
    with os.fdopen(open_file(path).descriptor, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                nbytes = sum(member.file_size for member in members if "/data/" in member.filename)
                pickles = [member for member in members if member.filename.endswith("data.pkl")]
                if len(pickles) != 1 or pickles[0].file_size > _PICKLE_LIMIT:
                    return BinContents(None, nbytes)
                with archive.open(pickles[0]) as member:
                    data = member.read(_PICKLE_LIMIT)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
            return BinContents(None, 0)
    return BinContents(_keys(data), nbytes)


def _keys(data: bytes) -> frozenset[str] | None:
    """Collect the dotted strings of a pickle; storage keys, device names and type tags have no dot."""
    found: set[str] = set()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if (
                opcode.name in ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE")
                and isinstance(argument, str)
                and "." in argument
            ):
                found.add(argument)
    except (ValueError, IndexError, UnicodeDecodeError):
        return None
    return frozenset(found)
