"""The plan of the house: imports run one way, heavy ones stay where they are needed, names say what is inside."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import adapter_format

PACKAGE = Path(adapter_format.__file__).parent

# Lower rooms first. A module may import from its own room and from rooms below.
ROOMS = {
    "nouns": 0,
    "storage": 1,
    "work": 2,
    "faces": 3,
}
NOUNS = {
    "_version", "errors", "limits", "dtypes", "tensors", "findings", "packaged", "conditions", "config_fields",
    "schema_words", "schema_check", "constraints", "regex_parser", "pattern_budget", "automaton", "backtracking",
    "outcomes", "patterns", "expressions", "shape_functions", "shapes", "layouts", "module_values", "keys", "config",
    "foreign", "targets", "memory_keys", "settings", "dotted_names",
}  # fmt: skip
FACES = {"cli", "report", "testing", "__main__", "conformance"}
LIGHT = {"json", "re", "os", "typing", "functools", "operator"}
# What makes AdapterConfig.from_json read its text with the one strict reader.
ALLOWED_UPWARDS = {("config", "storage.strict_json")}


def _modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    }


def _room(module: str) -> str:
    top = module.partition(".")[0]
    if top in FACES:
        return "faces"
    if top == "storage":
        return "storage"
    return "nouns" if top in NOUNS else "work"


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield every import with whether it is for type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            typing_only.update(child for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in typing_only
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node in typing_only
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node in typing_only


def _edges(*, runtime_only: bool) -> Iterator[tuple[str, str]]:
    modules = _modules()
    for module, path in modules.items():
        for name, typing_only in _imports(path):
            target = name.removeprefix("adapter_format.")
            if target != name and target in modules and target != module and not (typing_only and runtime_only):
                yield module, target


def test_imports_run_downwards() -> None:
    upwards = [
        (module, target)
        for module, target in _edges(runtime_only=True)
        if ROOMS[_room(target)] > ROOMS[_room(module)] and (module, target) not in ALLOWED_UPWARDS
    ]

    assert upwards == []


def test_there_are_no_circles() -> None:
    below: dict[str, set[str]] = {}
    for module, target in _edges(runtime_only=True):
        if (module, target) not in ALLOWED_UPWARDS:
            below.setdefault(module, set()).add(target)
    finished: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in finished:
            for target in sorted(below.get(module, ())):
                walk(target, (*path, module))
            finished.add(module)

    for module in below:
        walk(module, ())


@pytest.mark.parametrize("framework", ["torch", "peft", "transformers", "tensorflow", "jax"])
def test_no_framework_is_imported(framework: str) -> None:
    found = [
        module
        for module, path in _modules().items()
        for name, _ in _imports(path)
        if name.partition(".")[0] == framework
    ]

    assert found == []


def test_no_name_hides_what_is_inside() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "core", "base"}

    assert [module for module in _modules() if vague & set(module.split("."))] == []


def _loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_is_light() -> None:
    loaded = _loaded_by("import adapter_format")

    assert not {"numpy", "jsonschema", "rich", "torch", "safetensors"} & loaded


def test_a_header_level_verdict_needs_no_heavy_import() -> None:
    golden = Path(__file__).parent / "golden" / "lora" / "all_linear"

    loaded = _loaded_by(f"import adapter_format\nassert adapter_format.validate({str(golden)!r}).ok")

    assert not {"numpy", "jsonschema", "rich", "torch", "safetensors", "hypothesis"} & loaded


def test_every_public_name_can_be_imported() -> None:
    for name in adapter_format.__all__:
        assert getattr(adapter_format, name) is not None
