"""Write the golden adapters of `tests/golden/lora` and `tests/golden/methods` with real PEFT.

Run it from the root of the repository, in an environment made from `.ci/oracle-requirements.txt`:

    python tests/golden/make_goldens.py                       # all of them, and the manifests
    python tests/golden/make_goldens.py --collection methods  # one collection
    python tests/golden/make_goldens.py --output FOLDER       # elsewhere, to compare with what is stored
    python tests/golden/make_goldens.py --only linear         # some of them, without the manifests

Each golden is one call of `save_pretrained` on a tiny base of `tests/oracle/base_models.py`, after every
trainable tensor got seeded noise (otherwise B would be zero). Model cards are left out. The tables are
`lora_recipes.py` and, for every other method, `method_recipes_*.py`.

`manifest.json` says for each golden its base, what it shows and the versions that wrote it; `load_options`
for `from_pretrained` and `loaded_with`, the stand-ins, both needed to load it; and under `adapters`, one for
each adapter in it: the folder, the number of keys, a digest of what the saved model computed, and what PEFT
did on loading it into a fresh base. `reload` is `same` (outputs within `tolerance`), `differs` or `raises`,
with warnings and error. A golden that does not reload is real too: PEFT wrote it so. The manifest of the
methods says the `peft_type` too, the `inputs` that a model takes beside its base's batch, and in `why` the
reason where the outputs do not come back.

The same versions on the same machine write the same bytes: hash seed, thread count and noise are fixed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run() -> int:
    """Start again with a fixed hash seed, on which the order of PEFT's sets depends, then write."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        environment = {**os.environ, "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1"}
        return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.golden.golden_writer import main

    main()
    return 0


if __name__ == "__main__":
    sys.exit(run())
