"""Write the goldens of every old release, load all of them with every release, and record the verdicts.

    NEWEST/bin/python tests/golden/releases/measure.py FOLDER         # write and measure
    NEWEST/bin/python tests/golden/releases/measure.py FOLDER --keep  # measure what is stored

NEWEST is an environment of the oracle, FOLDER what `environments.py` built. `manifest.json` gets the goldens of
this folder and what each release does with them, `newest_in_old.json` what the old releases do with the
goldens of the newest one, which stand beside this folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))
MANIFEST = HERE / "manifest.json"
NEWEST_IN_OLD = HERE / "newest_in_old.json"
NEWEST_GOLDENS = ("lora", "methods")
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def laid_out(value: Any, depth: int, indent: str = "") -> str:
    """JSON text with line breaks down to `depth` levels, and one line for each value below."""
    if depth == 0 or not isinstance(value, dict | list) or not value:
        return json.dumps(value)
    inner = indent + " "
    if isinstance(value, dict):
        items = [f"{inner}{json.dumps(key)}: {laid_out(item, depth - 1, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    return "[\n" + ",\n".join(f"{inner}{laid_out(item, depth - 1, inner)}" for item in value) + f"\n{indent}]"


class Texts:
    """Distinct messages, each named by its place in a list: most of them recur in hundreds of verdicts."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """The place of a message, which is added if it is new."""
        return self.places.setdefault(text, len(self.places))

    def named(self, verdict: dict[str, Any]) -> dict[str, Any]:
        """A verdict with places for its messages."""
        result = {key: value for key, value in verdict.items() if key not in ("error", "warnings", "after_dropping")}
        if "error" in verdict:
            result["error"] = self.place(verdict["error"])
        if "warnings" in verdict:
            result["warnings"] = [self.place(text) for text in verdict["warnings"]]
        if "after_dropping" in verdict:
            result["after_dropping"] = self.named(verdict["after_dropping"])
        return result


def without_outputs(verdict: dict[str, Any]) -> dict[str, Any]:
    """A verdict without the digest of what was computed."""
    return {key: value for key, value in verdict.items() if key != "outputs"}


def interpreters(folder: Path) -> dict[str, str]:
    """The release and the interpreter of every environment in a folder, oldest first, then the newest."""
    import peft

    from tests.golden.releases.environments import PINS, python_of

    built = {release: str(python_of(folder / release)) for release in PINS if (folder / release / "complete").exists()}
    return {**built, peft.__version__: sys.executable}


def write_goldens(folder: Path) -> dict[str, Any]:
    """Let every old release write its goldens: their entries, and what could not be written."""
    from tests.golden.releases.environments import WRITERS

    versions: dict[str, dict[str, str]] = {}
    goldens, not_written = [], []
    with tempfile.TemporaryDirectory() as work:
        for release, python in interpreters(folder).items():
            if release not in WRITERS:
                continue
            record = Path(work) / f"{release}.json"
            command = [python, str(HERE / "write.py"), "--record", str(record)]
            subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
            written = json.loads(record.read_text())
            versions[release] = written["versions"]
            goldens += written["goldens"]
            not_written += written["not_written"]
            print(f"{release}: {len(written['goldens'])} goldens written, {len(written['not_written'])} not")
    return {"versions": versions, "goldens": goldens, "not_written": not_written}


def verdicts(python: str, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the PEFT of one interpreter does with each job."""
    with tempfile.TemporaryDirectory() as work:
        wanted, got = Path(work) / "jobs.json", Path(work) / "results.json"
        wanted.write_text(json.dumps(jobs))
        subprocess.run([python, str(HERE / "load.py"), str(wanted), str(got)], env=ENVIRONMENT, check=True)
        return json.loads(got.read_text())


def base_digests(names: set[str]) -> dict[str, dict[str, Any]]:
    """What each base computes here."""
    from tests.golden.releases import bases
    from tests.oracle import base_models
    from tests.oracle.golden_outputs import digest

    bases.register()
    return {name: digest(base_models.outputs(base_models.build(name), name))._asdict() for name in sorted(names)}


def measure_releases(folder: Path, written: dict[str, Any]) -> None:
    """Load every golden of this folder with every release, and write the manifest."""
    from tests.golden.releases.loading import fields_of_release
    from tests.golden.releases.reasons import reason

    digests = base_digests({golden["base"] for golden in written["goldens"]})
    jobs = [{"base_outputs": digests[golden["base"]], **fields_of_release(golden)} for golden in written["goldens"]]
    for golden in written["goldens"]:
        golden["loads_in"] = {}
    texts = Texts()
    for release, python in interpreters(folder).items():
        for golden, verdict in zip(written["goldens"], verdicts(python, jobs), strict=True):
            verdict.pop("unknown_fields", None)
            kept = verdict if python == sys.executable else without_outputs(verdict)
            golden["loads_in"][release] = texts.named(kept)
        print(f"{release}: {len(jobs)} goldens of old releases loaded")
    for golden in written["goldens"]:
        known = reason(golden["name"], golden["release"])
        for key in ("changed_in", "mended_in", "why"):
            golden.pop(key, None)
            if known is not None:
                golden[key] = getattr(known, key)
    written["texts"] = list(texts.places)
    MANIFEST.write_text(laid_out(written, 3) + "\n")


def newest_goldens() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every adapter of the newest goldens: the name of their folder, the golden and the adapter."""
    found = []
    for kind in NEWEST_GOLDENS:
        manifest = HERE.parent / kind / "manifest.json"
        for golden in json.loads(manifest.read_text())["goldens"] if manifest.exists() else ():
            found += [(kind, golden, adapter) for adapter in golden["adapters"]]
    return found


def unlike_default(config: dict[str, Any], fields: list[str]) -> list[str]:
    """Those of the named fields to which a config gives another value than the newest release's default."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    defaults = {}
    for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[config["peft_type"]]):
        made = field.default_factory is not dataclasses.MISSING
        defaults[field.name] = field.default_factory() if made else field.default
    return [name for name in fields if name != "peft_version" and config[name] != defaults.get(name)]


def measure_newest(folder: Path) -> None:
    """Load the goldens of the newest release with the old ones, and write `newest_in_old.json`."""
    adapters = newest_goldens()
    digests = base_digests({golden["base"] for _, golden, _ in adapters})
    jobs, configs, entries = [], [], {}
    for kind, golden, adapter in adapters:
        place = HERE.parent / kind / adapter["folder"]
        configs.append(json.loads((place / "adapter_config.json").read_text()))
        entries[f"{kind}/{adapter['folder']}"] = {"peft_type": configs[-1]["peft_type"], "in_newest": adapter["reload"]}
        jobs.append(
            {
                "folder": str(place),
                "base": golden["base"],
                "outputs": adapter["outputs"],
                "base_outputs": digests[golden["base"]],
                "adapter_name": adapter["name"],
                "load_options": golden["load_options"],
                "loaded_with": golden["loaded_with"],
                "tolerance": golden["tolerance"],
                "inputs": golden.get("inputs", {}),
            }
        )
    unknown: dict[str, dict[str, list[str]]] = {}
    unknown_methods: dict[str, set[str]] = {}
    texts = Texts()
    for release, python in list(interpreters(folder).items())[:-1]:
        unknown[release], unknown_methods[release] = {}, set()
        for config, entry, verdict in zip(configs, entries.values(), verdicts(python, jobs), strict=True):
            fields = verdict.pop("unknown_fields", [])
            if fields is None:
                unknown_methods[release].add(config["peft_type"])
                continue
            if fields:
                unknown[release][config["peft_type"]] = fields
                unlike = unlike_default(config, fields)
                if unlike:
                    verdict["unknown_and_not_default"] = unlike
            entry[release] = texts.named(without_outputs(verdict))
        print(f"{release}: {len(jobs)} goldens of the newest release loaded")
    result = {
        "unknown_methods": {release: sorted(methods) for release, methods in unknown_methods.items()},
        "unknown_fields": unknown,
        "goldens": entries,
        "texts": list(texts.places),
    }
    NEWEST_IN_OLD.write_text(laid_out(result, 3) + "\n")


def main() -> None:
    """Write and measure."""
    parser = argparse.ArgumentParser(description="Write and measure the goldens of old PEFT releases.")
    parser.add_argument("folder", type=Path, help="the environments that environments.py built")
    parser.add_argument("--keep", action="store_true", help="measure the stored goldens, and write none")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    written = json.loads(MANIFEST.read_text()) if arguments.keep else write_goldens(folder)
    measure_releases(folder, written)
    measure_newest(folder)


if __name__ == "__main__":
    main()
