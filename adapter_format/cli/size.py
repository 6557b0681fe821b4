"""`adapter-format size`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from adapter_format.cli.status import FINE
from adapter_format.dtypes import BITS, DTYPES
from adapter_format.errors import UsageError
from adapter_format.layouts import auxiliary, layout_of
from adapter_format.module_values import value_of
from adapter_format.report.size import Forecast, Row, forecast_lines, forecast_to_dict
from adapter_format.settling import RANK
from adapter_format.size import expected_size

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST = 10**12
_MOST_MODULES = 1_000_000
_LAYER = "linear"
"""The one base layer that input and output features describe."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = (
        "A 7B model, r 16 on q, k, v and o: size --rank 16 --dtype F16 --layers 32 --module q=4096x4096 "
        "--module k=4096x4096 --module v=4096x4096 --module o=4096x4096 --base-parameters 6.74e9"
    )
    parser.add_argument("--rank", metavar="R", type=_positive, help="rank of the factors, for a method that has one")
    parser.add_argument(
        "--module",
        metavar="NAME=INxOUT",
        action="append",
        default=[],
        type=_module,
        dest="named",
        help="a module of each layer with its input and output features; repeat it for each",
    )
    parser.add_argument("--layers", metavar="N", type=_positive, default=1, help="layers that have these modules")
    parser.add_argument("--modules", metavar="N", type=_positive, help="instead: number of modules of one size")
    parser.add_argument("--d-in", metavar="N", type=_positive, help="input features, with --modules")
    parser.add_argument("--d-out", metavar="N", type=_positive, help="output features, with --modules")
    parser.add_argument(
        "--dtype",
        metavar="NAME",
        default="F32",
        help="element type as safetensors calls it: F32, F16, BF16, ... (default: F32)",
    )
    parser.add_argument(
        "--role",
        metavar="ROLE",
        action="append",
        default=[],
        help="a further role of the method, such as lora_magnitude_vector for DoRA",
    )
    usual = auxiliary().usual_method
    parser.add_argument("--method", metavar="NAME", default=usual, help=f"default: {usual}")
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        type=_setting,
        dest="settings",
        help="a field of the config that decides on sizes, with its value as JSON, such as block_size=256",
    )
    parser.add_argument(
        "--base-parameters",
        metavar="N",
        type=_parameters,
        help="parameters of the base model, such as 6.74e9, to compare with",
    )
    parser.add_argument("--base-dtype", metavar="NAME", help="its element type (default: that of --dtype)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """Predict parameters and bytes of an adapter from dimensions and rank."""
    forecast = _forecast(arguments)
    if arguments.format == "json":
        from adapter_format.report.json import dump

        print(dump(forecast_to_dict(forecast)))
        return FINE
    from adapter_format.report.terminal import paper_for

    paper = paper_for(sys.stdout)
    paper.write(forecast_lines(forecast, paper.width))
    return FINE


def _forecast(arguments: argparse.Namespace) -> Forecast:
    rank = _rank(arguments)
    named, layers = _dimensions(arguments)
    dtype = arguments.dtype.upper()
    base_dtype = (arguments.base_dtype or dtype).upper()
    if base_dtype not in DTYPES:
        raise UsageError(f"The element type {base_dtype[:80]!r} is none of {', '.join(DTYPES)}.")
    if len(named) * layers > _MOST_MODULES:
        raise UsageError(f"{len(named) * layers:,} modules are more than the {_MOST_MODULES:,} that are counted.")
    predicted = expected_size(
        [size for _, size in named for _ in range(layers)],
        arguments.rank,
        dtype,
        peft_type=arguments.method,
        roles=_checked_roles(arguments),
        config=_settings(arguments),
    )
    rows = [Row(name, layers, *size, predicted.per_module[index * layers]) for index, (name, size) in enumerate(named)]
    base = arguments.base_parameters
    single = sum(row.modules * row.parameters for row in rows)
    return Forecast(
        arguments.method,
        rank,
        dtype,
        tuple(rows),
        predicted.parameters - single,
        predicted.parameters,
        predicted.bytes,
        base,
        None if base is None else base * BITS[base_dtype] // 8,
    )


def _checked_roles(arguments: argparse.Namespace) -> tuple[str, ...]:
    layout = layout_of(arguments.method)
    known = [role for kind in (layout.kinds if layout else ()) if _LAYER in kind.layers for role in kind.shapes]
    for role in arguments.role if layout is not None else ():
        if role not in known:
            raise UsageError(f"The method has no role {role[:80]!r} for {_LAYER} layers; it has {', '.join(known)}.")
    return tuple(arguments.role)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that were set; a dot in a name leads into an object."""
    config: dict[str, Any] = {}
    for name, value in arguments.settings:
        *path, last = name.split(".")
        place = config
        for part in path:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[last] = value
    return config


def _rank(arguments: argparse.Namespace) -> int | None:
    """Return the rank that was asked for; None for a method without one."""
    layout = layout_of(arguments.method)
    value = layout.values.get(RANK) if layout is not None else None
    if value is None or layout is None or value.raw:
        return None
    found: int | None = arguments.rank or value_of(value, _settings(arguments).get(value.field))
    if found is None:
        raise UsageError(f"{layout.title} has a rank: say which with --rank.")
    return found


def _setting(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    try:
        return name, json.loads(value) if found else None
    except ValueError:
        return name, value


def _dimensions(arguments: argparse.Namespace) -> tuple[Sequence[tuple[str, tuple[int, int]]], int]:
    """Return modules with their features, and how often each occurs."""
    plain = (arguments.modules, arguments.d_in, arguments.d_out)
    if arguments.named and any(value is not None for value in plain):
        raise UsageError("Give either --module with --layers, or --modules with --d-in and --d-out, not both.")
    if arguments.named:
        return arguments.named, arguments.layers
    layout = layout_of(arguments.method)
    if layout is not None and not layout.prefix and plain == (None, None, None):
        return [], 1
    if None in plain:
        raise UsageError("Say what is adapted: --module NAME=INxOUT for each, or --modules, --d-in and --d-out.")
    return [("", (arguments.d_in, arguments.d_out))], arguments.modules * arguments.layers


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) <= len(str(_LARGEST)) else 0
    if not 1 <= number <= _LARGEST:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number from 1 to {_LARGEST:,}")
    return number


def _module(text: str) -> tuple[str, tuple[int, int]]:
    name, _, sizes = text.rpartition("=")
    d_in, found, d_out = sizes.partition("x")
    if not found:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not NAME=INxOUT, such as q=4096x4096")
    return name, (_positive(d_in), _positive(d_out))


def _parameters(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1 <= number <= 1e18:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number from 1 to 1e18")
    return int(number)
