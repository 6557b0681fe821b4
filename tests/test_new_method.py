"""A method that nobody has heard of, added by one data file: everything follows from it.

The package is used in a folder of its own, whose `schemas/` has one layout more and the config fields of the method,
which the script in `spec/config_schema/` would take from PEFT's wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYOUT = Path(__file__).parent / "data" / "new_method.json"
METHOD = "GATED_BANK"

USE = """
import json, sys
from pathlib import Path
import adapter_format as af
from adapter_format.cli import main
from adapter_format.extract import extract_adapter
from adapter_format.testing import DAMAGES, damage, sample_adapter, write_adapter

place = Path(sys.argv[1])
adapter = sample_adapter("GATED_BANK")
write_adapter(adapter, place / "sound")
sound = af.validate(place / "sound", data=True)
broken = {}
for rule in DAMAGES:
    damaged = damage(adapter, rule)
    if damaged is not None:
        write_adapter(damaged, place / rule)
        broken[rule] = sorted({f.rule for f in af.validate(place / rule).findings if f.severity != "info"})
loaded = af.load(place / "sound")
af.save(place / "again", loaded.tensors, loaded.config)
size = af.expected_size([(8, 6)], r=2, peft_type="GATED_BANK", config={"bank_rows": 5, "use_gate": True})
state = {
    "base_model.model.q.bank_down.x.weight": 1,
    "base_model.model.q.bank_up.x.weight": 2,
    "base_model.bank_rows.x": 3,
}
print(json.dumps({
    "sound": [f.rule for f in sound.findings if f.severity != "info"],
    "bytes": [sound.summary.bytes, sound.summary.expected_bytes],
    "broken": broken,
    "same": (place / "again" / "adapter_model.safetensors").read_bytes()
            == (place / "sound" / "adapter_model.safetensors").read_bytes(),
    "size": [size.parameters, list(size.per_module)],
    "extracted": extract_adapter(state, "x", {"peft_type": "GATED_BANK", "use_gate": True}),
    "inspected": main(["inspect", str(place / "sound")]),
}))
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    (home / "adapter_format").symlink_to(ROOT / "adapter_format", target_is_directory=True)
    shutil.copytree(ROOT / "schemas", home / "schemas")
    shutil.copy(LAYOUT, home / "schemas" / "layouts" / f"{METHOD.lower()}.json")
    path = home / "schemas" / "adapter_config.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    like = schema["$defs"]["C3A"]["properties"]
    fields = {"r": like["block_size"], "bank_rows": like["block_size"], "target_modules": like["target_modules"]}
    gate = schema["$defs"]["LORA"]["properties"]["use_dora"]
    schema["$defs"][METHOD] = {**schema["$defs"]["C3A"], "properties": {**fields, "use_gate": gate}}
    schema["$defs"]["peft_types"]["x-data"][METHOD] = {"since": "0.21.0", "until": None}
    path.write_text(json.dumps(schema), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(home)}
    command = [sys.executable, "-c", USE, str(home / "adapters")]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_an_adapter_of_it_is_drawn_judged_and_measured(used: dict[str, Any]) -> None:
    assert used["sound"] == []
    assert used["bytes"][0] == used["bytes"][1] > 0


def test_it_is_read_and_written(used: dict[str, Any]) -> None:
    assert used["same"] is True
    assert used["inspected"] == 0


def test_each_damage_breaks_its_rule(used: dict[str, Any]) -> None:
    assert {rule: found for rule, found in used["broken"].items() if found != [rule]} == {}
    assert {"AF301", "AF305", "AF401", "AF403", "AF404", "AF312"} <= used["broken"].keys()


def test_its_size_is_predicted(used: dict[str, Any]) -> None:
    assert used["size"] == [2 * 8 + 6 * 2 + 6 + 5 * 2, [2 * 8 + 6 * 2 + 6]]


def test_it_is_taken_out_of_a_state_dict(used: dict[str, Any]) -> None:
    assert used["extracted"] == {
        "base_model.model.q.bank_down.weight": 1,
        "base_model.model.q.bank_up.weight": 2,
        "base_model.bank_rows": 3,
    }
