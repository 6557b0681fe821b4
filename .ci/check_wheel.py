"""Checks of the installed wheel: complete, typed, light, and at work away from the repository."""

import subprocess
import sys
from importlib.metadata import files, requires
from pathlib import Path

import adapter_format as af
from adapter_format.packaged import schema_names, schema_text

repository = Path(__file__).resolve().parents[1]
package = Path(af.__file__).parent
assert repository / "adapter_format" != package, "the repository's own package was imported"

inside = {str(path) for path in files("adapter-format") or []}
for name in ("adapter_format/py.typed", "adapter_format/schemas/adapter_config.schema.json"):
    assert name in inside, f"{name} is not in the wheel"
for path in (repository / "schemas").rglob("*.json"):
    packed = package / "schemas" / path.relative_to(repository / "schemas")
    assert packed.read_bytes() == path.read_bytes(), f"{packed} differs from the repository"
assert "layouts/lora" in schema_names()
assert schema_text("adapter_config").startswith("{")
assert not any("torch" in requirement for requirement in requires("adapter-format") or []), "torch is required"

good = repository / "spec" / "examples" / "good"
command = [sys.executable, "-m", "adapter_format", "validate", str(good)]
assert subprocess.run(command, check=False, capture_output=True).returncode == 0, "a good example was refused"
bad = repository / "spec" / "examples" / "bad"
assert subprocess.run([*command[:-1], str(bad)], check=False, capture_output=True).returncode == 1, "a bad one was not"
print("the wheel is complete")
