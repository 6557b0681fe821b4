"""The scripts that make the config schema from PEFT's wheels, on sources made for the purpose."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "spec" / "config_schema"


@pytest.fixture
def scripts() -> Iterator[Any]:
    """Import the scripts as `generate.py` does, and forget them afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(SCRIPTS))

    def script(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield script
    sys.path.remove(str(SCRIPTS))
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(SCRIPTS)):
            del sys.modules[name]


def test_the_schema_is_what_history_and_notes_give() -> None:
    command = [sys.executable, str(SCRIPTS / "generate.py"), "--words", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), "run spec/config_schema/generate.py --words"


PACKAGE = {
    "peft": "from .tuners import AConfig, BConfig\n",
    "peft.config": """
from dataclasses import dataclass, field
@dataclass
class PeftConfigMixin:
    peft_type: Optional["PeftType"] = field(default=None)
@dataclass
class PeftConfig(PeftConfigMixin):
    revision: str = field(default=None, metadata={"help": "x"})
""",
    "peft.types": """
import enum
class PeftType(str, enum.Enum):
    A = "A"
    B = "B"
class Start(str, enum.Enum):
    RANDOM = "RANDOM"
    SAMPLE_VOCAB = "SAMPLE_VOCAB"
""",
    "peft.tuners": """
from ..config import PeftConfig
from ..types import PeftType, Start
from peft.tuners.a import AConfig
from .b import BConfig
""",
    "peft.tuners.a": """
from dataclasses import dataclass, field
@dataclass
class Options:
    deep: int = (field(default=2),)
@dataclass
class AConfig(PeftConfig):
    r: int = 8
    names: Optional[List[str]] = field(default_factory=list)
    options: Options = field(default_factory=Options)
    start: Union[Start, str] = Start.RANDOM
    kinds: ClassVar[int] = 3
    word: "bool | Literal['one', 'two']" = field(default=True)
    def __post_init__(self):
        self.peft_type = PeftType.A
""",
    "peft.tuners.b": """
@dataclass
class BConfig(AConfig):
    r: int = field(default=4)
    def __post_init__(self):
        if True:
            self.peft_type = PeftType.B
""",
    "peft.tuners.old": "@dataclass\nclass AConfig(PeftConfig):\n    gone: int = 1\n",
}


def test_a_release_is_read_without_being_run(scripts: Any) -> None:
    release = scripts("classes").read_release(PACKAGE.items())

    assert release.names == {"A": "AConfig", "B": "BConfig"}
    assert list(release.methods["A"]) == ["peft_type", "revision", "r", "names", "options", "start", "word"]
    assert release.methods["A"]["peft_type"] == ("Optional[PeftType]", None)
    assert release.methods["A"]["names"] == ("Optional[list[str]]", [])
    assert release.methods["A"]["start"] == ("Union[Start, str]", "RANDOM")
    assert release.methods["A"]["word"] == ("bool | Literal['one', 'two']", True)
    assert (release.methods["A"]["r"].default, release.methods["B"]["r"].default) == (8, 4)
    assert release.options == {"Options": {"deep": ("int", 2)}}
    assert release.enums["Start"] == ("RANDOM", "SAMPLE_VOCAB")


def test_two_classes_of_one_name_are_refused(scripts: Any) -> None:
    doubled = {**PACKAGE, "peft": PACKAGE["peft"] + "from .tuners import old\n", "peft.tuners.extra": ""}
    doubled["peft.tuners"] += "from . import old\n"
    with pytest.raises(LookupError, match="two classes are called AConfig"):
        scripts("classes").read_release(doubled.items())


def releases_of(script: Any, *fields: dict[str, tuple[str, Any]] | None) -> dict[str, Any]:
    """Releases 0.1.0, 0.2.0, ... that each know LORA with the fields given, and a method X unless they are None."""
    classes = script("classes")
    found = {}
    for number, own in enumerate(fields, 1):
        base = {"peft_type": classes.FieldText("str", None)}
        methods = {"LORA": base}
        if own is not None:
            methods["X"] = {**base, **{name: classes.FieldText(*text) for name, text in own.items()}}
        names = {method: f"{method}Config" for method in methods}
        found[f"0.{number}.0"] = classes.Release(methods, names, {}, {"PeftType": tuple(methods)})
    return found


def test_histories_name_what_changed(scripts: Any) -> None:
    found = scripts("history").history(
        releases_of(scripts, None, {"a": ("int", 1), "b": ("int", 1)}, {"a": ("int", True)}, {"a": ("float", True)})
    )

    assert found["methods"]["X"] == {
        "class": "XConfig",
        "since": "0.2.0",
        "fields": {
            "a": {
                "since": "0.2.0",
                "type": "float",
                "types": {"0.2.0": "int", "0.4.0": "float"},
                "default": True,
                "defaults": {"0.2.0": 1, "0.3.0": True},
            },
            "b": {"since": "0.2.0", "until": "0.2.0", "type": "int", "default": 1},
        },
    }
    assert found["common"] == {"peft_type": {"since": "0.1.0", "type": "str", "default": None}}


def test_a_method_that_ended_dates_itself_not_its_fields(scripts: Any) -> None:
    found = scripts("history").history(releases_of(scripts, {"a": ("int", 1)}, None))
    assert found["methods"]["X"] == {
        "class": "XConfig",
        "since": "0.1.0",
        "until": "0.1.0",
        "fields": {"a": {"since": "0.1.0", "type": "int", "default": 1}},
    }


def test_what_comes_back_is_refused(scripts: Any) -> None:
    releases = releases_of(scripts, {"a": ("int", 1)}, {}, {"a": ("int", 1)})
    with pytest.raises(LookupError, match="came back"):
        scripts("history").history(releases)


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("int", {"type": "integer"}),
        ("bool", {"type": ["boolean", "null"]}),
        ("Optional[int]", {"type": ["integer", "null"]}),
        ("str | None", {"type": ["string", "null"]}),
        ("Literal['x', 'y'] | None", {"enum": ["x", "y", None]}),
        ("Union[str, Start]", {"enum": ["A", "B"]}),
        ("bool | Literal['x']", {"anyOf": [{"type": ["boolean", "null"]}, {"enum": ["x"]}]}),
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
        (
            "Optional[Union[list[str], str]]",
            {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}}]},
        ),
        ("dict[str, Union[int, float]]", {"type": "object", "additionalProperties": {"type": ["integer", "number"]}}),
        ("Optional[dict]", {"type": ["object", "null"]}),
        ("typing.Optional[list[str]]", {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}),
    ],
)
def test_annotations_become_schemas(annotation: str, schema: dict[str, Any], scripts: Any) -> None:
    assert scripts("annotations").schema_of(annotation, {"Start": ["A", "B"]}) == schema


@pytest.mark.parametrize("annotation", ["Callable", "set[str]", "Mystery[int]"])
def test_annotations_of_unknown_form_are_refused(annotation: str, scripts: Any) -> None:
    with pytest.raises(LookupError):
        scripts("annotations").schema_of(annotation, {})


def test_words_that_no_field_has_are_refused(scripts: Any) -> None:
    generate, schema = scripts("generate"), scripts("schema")
    history = json.loads(generate.HISTORY.read_text(encoding="utf-8"))
    notes = generate.notes()
    notes["methods"]["IA3"]["fields"]["invented"] = {"title": "x", "description": "x"}
    with pytest.raises(LookupError, match="IA3 has no field invented"):
        schema.assemble(history, notes, generate.refuses())


def test_a_field_without_words_is_refused(scripts: Any) -> None:
    generate, schema = scripts("generate"), scripts("schema")
    history = json.loads(generate.HISTORY.read_text(encoding="utf-8"))
    history["methods"]["IA3"]["fields"]["invented"] = {"since": "0.21.2", "type": "int", "default": 1}
    with pytest.raises(LookupError, match=r"no words for IA3\.invented"):
        schema.assemble(history, generate.notes(), generate.refuses())
