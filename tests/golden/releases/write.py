"""Write the goldens of one PEFT release, in an environment that `environments.py` built for it.

    FOLDER/0.14.0/bin/python tests/golden/releases/write.py --record FILE  # all of this release
    FOLDER/0.14.0/bin/python tests/golden/releases/write.py --only NAME    # some of them

Which release it is, the installed PEFT says. Each golden is a folder `<release>/<method>_<setting>`. The
record is JSON: for each golden, what the model that was saved computed. `measure.py` runs this script and
makes the manifest from the records.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def wrapped(recipe: Any) -> Any:
    """The base of a recipe with its adapter, trained; experts are written into the current folder before."""
    import peft

    from tests.golden.releases.training import TRAININGS, add_noise
    from tests.oracle import base_models

    for name, config in recipe.experts.items():
        expert = peft.get_peft_model(base_models.build(recipe.base), peft.LoraConfig(**config))
        add_noise(expert, recipe)
        expert.save_pretrained(f"experts/{name}", safe_serialization=True)
    base = base_models.build(recipe.base)
    for field, value in recipe.base_settings.items():
        setattr(base.config, field, value)
    config = getattr(peft, recipe.config_class)(**recipe.config)
    model = peft.get_peft_model(base, config, adapter_name=recipe.adapter_name)
    if "initial" in recipe.save.values():
        initialisation, config.init_lora_weights = config.init_lora_weights, True
        model.save_pretrained("initial", safe_serialization=True)
        config.init_lora_weights = initialisation
    TRAININGS[recipe.training](model, recipe)
    return model.eval()


def write(recipe: Any, folder: Path) -> dict[str, Any]:
    """Write one golden into `folder` and return its entry of the record."""
    import torch

    from tests.oracle import base_models
    from tests.oracle.golden_outputs import close, digest

    folder.mkdir(parents=True)
    os.chdir(folder)
    torch.manual_seed(0)
    model = wrapped(recipe)
    computed = digest(base_models.outputs(model, recipe.base, recipe.inputs))
    if close(computed, digest(base_models.outputs(base_models.build(recipe.base), recipe.base)), 1e-4):
        raise ValueError("the adapter does not change the outputs of its base")
    model.save_pretrained(".", **{"safe_serialization": True, **recipe.save})
    os.chdir(HERE)
    shutil.rmtree(folder / "initial", ignore_errors=True)
    for path in folder.rglob("*"):
        if path.name == "README.md":
            path.unlink()
        elif path.is_file():
            path.chmod(0o644)
    place = folder if recipe.adapter_name == "default" else folder / recipe.adapter_name
    wanted = {"inputs": recipe.inputs, "base_settings": recipe.base_settings}
    return {
        "name": recipe.name,
        "folder": place.relative_to(HERE).as_posix(),
        "peft_type": json.loads((place / "adapter_config.json").read_text())["peft_type"],
        "base": recipe.base,
        "shows": recipe.shows,
        **{key: value for key, value in wanted.items() if value},
        "outputs": computed._asdict(),
    }


def write_all(only: list[str] | None, record: Path | None) -> None:
    """Write the goldens of the installed release, and the record."""
    sys.path.insert(0, str(HERE.parents[2]))
    from tests.golden.releases.surroundings import fill_gaps

    fill_gaps()
    import peft
    import safetensors
    import torch
    import transformers

    from tests.golden.releases import bases
    from tests.golden.releases.recipes import of_release

    bases.register()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    release = peft.__version__
    versions = {
        "peft": release,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
    }
    entries, failed = [], []
    for recipe in of_release(release):
        if only and recipe.name not in only:
            continue
        folder = HERE / release / recipe.name
        shutil.rmtree(folder, ignore_errors=True)
        try:
            entries.append({"release": release, **write(recipe, folder)})
            print(f"{release}/{recipe.name}")
        except Exception as problem:  # of any class: one that can't be written is recorded, and the others follow
            os.chdir(HERE)
            shutil.rmtree(folder, ignore_errors=True)
            failed.append(
                {"name": recipe.name, "release": release, "error": f"{type(problem).__name__}: {problem}"[:300]}
            )
            print(f"{release}/{recipe.name}: not written")
            traceback.print_exc()
    if record is not None:
        record.write_text(json.dumps({"versions": versions, "goldens": entries, "not_written": failed}))


def main() -> int:
    """Start again with a fixed hash seed, on which the order of PEFT's sets depends, then write."""
    parser = argparse.ArgumentParser(description="Write the goldens of the installed PEFT release.")
    parser.add_argument("--only", nargs="*", help="these goldens alone")
    parser.add_argument("--record", type=Path, help="where to write what was written")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        environment = {**os.environ, "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode
    write_all(arguments.only, arguments.record and arguments.record.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
