"""The config classes of one release, read from its source text by syntax alone: nothing of PEFT is imported or run."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

ROOT_CLASS = "PeftConfigMixin"
_FACTORIES: dict[str, Any] = {"list": [], "dict": {}}


class FieldText(NamedTuple):
    """One dataclass field as the source has it.

    Attributes:
        type: text of the annotation, with the quotes of forward references taken off.
        default: the value as JSON would hold it.
    """

    type: str
    default: Any


class Release(NamedTuple):
    """What one release knows.

    Attributes:
        methods: value of `peft_type` to the fields of its config class by name.
        names: value of `peft_type` to the name of that class.
        options: name of each further dataclass that a field's annotation names, to its fields.
        enums: name of each enumeration to its values.
    """

    methods: Mapping[str, Mapping[str, FieldText]]
    names: Mapping[str, str]
    options: Mapping[str, Mapping[str, FieldText]]
    enums: Mapping[str, tuple[str, ...]]


def read_release(sources: Iterable[tuple[str, str]]) -> Release:
    """Read the config classes of one release from its modules.

    Raises:
        LookupError: the sources are not built as those of the known releases are.
    """
    trees = {name: _parsed(text) for name, text in sources}
    classes = _classes(trees[name] for name in sorted(_imported(trees)))
    enums = dict(_enums(classes))

    def inherited(name: str) -> dict[str, FieldText]:
        bases = [inherited(base) for base in _bases(classes[name]) if base in classes]
        found = {field: text for one in reversed(bases) for field, text in one.items()}
        return {**found, **dict(_own_fields(classes[name], enums))}

    names = {method: name for name in classes for method in _methods_of(name, classes)}
    methods = {method: inherited(name) for method, name in names.items()}
    known = set(enums["PeftType"])
    if not methods.keys() <= known:
        raise LookupError(f"no values of PeftType: {sorted(methods.keys() - known)}")
    named = {name for method in methods.values() for text in method.values() for name in _names(text.type)}
    options = {name: inherited(name) for name in sorted(named & classes.keys()) if _is_dataclass(classes[name])}
    return Release(methods, names, options, enums)


@functools.cache
def _parsed(text: str) -> ast.Module:
    """Parse a module; most are the same from release to release."""
    return ast.parse(text)


def _imported(trees: Mapping[str, ast.Module]) -> set[str]:
    """Return the modules that importing `peft` reaches; some wheels carry older files that nothing imports."""
    found: set[str] = set()
    waiting = ["peft"]
    while waiting:
        module = waiting.pop()
        if module in found or module not in trees:
            continue
        found.add(module)
        waiting += _imports(module, trees)
    return found


def _imports(module: str, trees: Mapping[str, ast.Module]) -> Iterator[str]:
    is_package = any(name.startswith(f"{module}.") for name in trees)
    for node in _statements(trees[module].body):
        if isinstance(node, ast.ImportFrom):
            up = module.split(".")[: None if node.level == 0 else -(node.level - is_package) or None]
            parent = ".".join([*(up if node.level else []), *([node.module] if node.module else [])])
            yield parent
            yield from (f"{parent}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run on import, those under a condition included."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            yield from _statements(node.body)
            yield from _statements(node.orelse)


def _classes(trees: Iterable[ast.Module]) -> dict[str, ast.ClassDef]:
    found: dict[str, ast.ClassDef] = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and (_is_dataclass(node) or _is_enum(node) or node.name == ROOT_CLASS):
                if node.name in found:
                    raise LookupError(f"two classes are called {node.name}")
                found[node.name] = node
    return found


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _is_enum(node: ast.ClassDef) -> bool:
    return any(base.rpartition(".")[2].endswith("Enum") for base in _bases(node))


def _bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base) for base in node.bases]


def _enums(classes: Mapping[str, ast.ClassDef]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, node in classes.items():
        if _is_enum(node):
            members = (item for item in node.body if isinstance(item, ast.Assign))
            yield name, tuple(str(ast.literal_eval(item.value)) for item in members)


def _own_fields(node: ast.ClassDef, enums: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, FieldText]]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = item.annotation
            text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
            if "ClassVar" not in str(text):
                yield item.target.id, FieldText(_normal(str(text)), _default(item.value, enums))


def _normal(annotation: str) -> str:
    """Spell an annotation in one way: forward references as plain text, `List` as `list`."""
    tree = ast.parse(annotation, mode="eval")
    literals = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal")
        for inner in ast.walk(node.slice)
    }
    return ast.unparse(_OneSpelling(literals).visit(tree))


class _OneSpelling(ast.NodeTransformer):
    def __init__(self, literals: AbstractSet[ast.AST]) -> None:
        self.literals = literals

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and node not in self.literals:
            return ast.parse(node.value, mode="eval").body
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(node.id.lower()) if node.id in ("List", "Dict", "Tuple") else node


def _default(value: ast.expr | None, enums: Mapping[str, tuple[str, ...]]) -> Any:
    """Return a default as JSON holds it; a field without one is filled by the class itself and begins as null."""
    if value is None:
        return None
    if isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] == "field":
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        if "default_factory" in given:
            return _made_by(given["default_factory"])
        return _default(given.get("default"), enums)
    if isinstance(value, ast.Attribute):
        return _enum_value(value, enums)
    if isinstance(value, ast.Tuple) and len(value.elts) == 1:
        # A stray comma behind `field(...)`, in `BdLoraConfig` of 0.19: this is what was meant.
        return _default(value.elts[0], enums)
    return ast.literal_eval(value)


def _made_by(factory: ast.expr) -> Any:
    if isinstance(factory, ast.Lambda):
        return ast.literal_eval(factory.body)
    name = ast.unparse(factory)
    return _FACTORIES.get(name, {"": name})


def _enum_value(value: ast.Attribute, enums: Mapping[str, tuple[str, ...]]) -> str:
    name = ast.unparse(value.value)
    near = [text for text in enums[name] if text.replace("-", "_").casefold() == value.attr.casefold()]
    if len(near) != 1:
        raise LookupError(f"{ast.unparse(value)} is no value of {name}")
    return near[0]


def _names(annotation: str) -> Iterator[str]:
    tree = ast.parse(annotation, mode="eval")
    yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _methods_of(name: str, classes: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    """Yield the value of `peft_type` that a config class gives itself after its construction."""
    for item in classes[name].body:
        if isinstance(item, ast.FunctionDef) and item.name == "__post_init__":
            for node in ast.walk(item):
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self.peft_type":
                    yield ast.unparse(node.value).rpartition(".")[2]
