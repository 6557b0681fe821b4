"""`adapter-format fix`."""

from __future__ import annotations

import sys
from difflib import unified_diff
from typing import TYPE_CHECKING

from adapter_format.cli.status import FINDINGS, FINE, NOTHING_FOUND, say
from adapter_format.config import CONFIG_NAME
from adapter_format.consumers.held import held_in
from adapter_format.consumers.requests import read_request
from adapter_format.errors import UsageError
from adapter_format.reading import adapter_directory, is_adapter, read_checkpoint, shorten
from adapter_format.repair.retarget import Retargeting, retarget
from adapter_format.report.escape import escape
from adapter_format.report.figures import count

if TYPE_CHECKING:
    import argparse

    from adapter_format.consumers.requests import Request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = (
        "--target drops config fields that the release does not know, only where their values are the defaults. A "
        "field that counts is named, nothing is written, and the exit status is 1."
    )
    parser.add_argument("path", metavar="PATH", help="an adapter, or one of its files")
    parser.add_argument(
        "--target", metavar="NAME==VERSION", required=True, help="fit the config to a release, such as peft==0.13.2"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", metavar="DIR", help="write the mended adapter into DIR, with a copy of the weights")
    where.add_argument("--in-place", action="store_true", help="replace the config; the weights stay as they are")
    where.add_argument("--dry-run", action="store_true", help="show the difference and write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Mend one adapter as asked and return the exit status."""
    request = read_request(arguments.target)
    directory = adapter_directory(arguments.path)
    if not is_adapter(directory):
        say(f"{shorten(arguments.path)} holds no adapter.")
        return NOTHING_FOUND
    checkpoint = read_checkpoint(directory)
    held = held_in(checkpoint)
    document = checkpoint.document
    if held is None or document is None or document.defects:
        say(f"{CONFIG_NAME} is damaged or missing; `adapter-format validate` says where.")
        return FINDINGS
    text = (checkpoint.config_data or b"").decode("utf-8")
    plan = retarget(held, text, request)
    if plan.obstacles:
        _tell_obstacles(plan, request)
        return FINDINGS
    if arguments.dry_run and plan.dropped:
        sys.stdout.write(difference(text, plan.text))
        return FINE
    _write(arguments, directory, plan, request)
    if arguments.output is not None or arguments.in_place:
        _tell_errors(directory if arguments.output is None else arguments.output)
    return FINE


def _tell_obstacles(plan: Retargeting, request: Request) -> None:
    for reason in plan.obstacles:
        say(reason.message)
    say(f"Nothing was written: that can't be mended for {request.name} {request.version} by dropping fields.")


def _tell_errors(directory: str) -> None:
    """Say how many errors the mended adapter still has; values are not read."""
    from adapter_format.validator import validate

    errors = validate(directory).number("error")
    if errors:
        verb = "remains" if errors == 1 else "remain"
        print(f"{count(errors, 'error')} {verb}; `adapter-format validate` says where.")


def difference(old: str, new: str) -> str:
    """Return the unified difference of two texts of a config, escaped for a terminal; empty if there is none."""
    lines = unified_diff(old.splitlines(), new.splitlines(), f"a/{CONFIG_NAME}", f"b/{CONFIG_NAME}", lineterm="")
    return "".join(f"{escape(line)}\n" for line in lines)


def _write(arguments: argparse.Namespace, directory: str, plan: Retargeting, request: Request) -> None:
    from adapter_format.repair.files import copy_with_config, write_config

    release = f"{request.name} {request.version}"
    written = ""
    if arguments.output is not None:
        if not arguments.output:
            raise UsageError("--output takes a directory, found nothing.")
        copy_with_config(directory, arguments.output, plan.text)
        written = f"; written to {shorten(arguments.output)}"
    elif arguments.in_place and plan.dropped:
        write_config(directory, plan.text)
        written = "; written in place"
    if not plan.dropped:
        print(f"{release} knows every field of {shorten(arguments.path)}: nothing to drop{written}.")
        return
    verb = "Dropped" if written else "Would drop"
    print(f"{verb} {count(len(plan.dropped), 'field')} that {release} does not know{written}:")
    for name, why in plan.dropped.items():
        print(escape(f"  {name[:80]}: {why}"))
    if not written:
        print("Nothing was written: --in-place or --output DIR writes it, --dry-run shows the difference.")
