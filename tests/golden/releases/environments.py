"""Build one environment for each old PEFT release that writes or loads the goldens of this folder.

    python3.11 tests/golden/releases/environments.py FOLDER                # all of them
    python3.11 tests/golden/releases/environments.py FOLDER --only 0.14.0  # some of them

Each environment is `FOLDER/<release>`, made with venv and pip alone. Torch is large and the same for all, so
it is installed once, in `FOLDER/torch`, and the others see it through a `.pth` file. Each then gets the PEFT of
its name and a Transformers of about those months; the tables below pin what matters. An environment that is
already complete is left as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PYTHON = (3, 11)
"""The one Python for which the oldest tokenizers and the newest torch have wheels."""

TORCH = "2.13.0"

TRANSFORMERS = {
    "4.31.0": {"accelerate": "0.21.0"},
    "4.35.2": {"accelerate": "0.24.1"},
    "4.36.2": {"accelerate": "0.25.0"},
    "4.41.2": {"accelerate": "0.30.1"},
    "4.45.2": {"accelerate": "1.0.1"},
    "4.47.1": {"accelerate": "1.2.1"},
    "4.52.4": {"accelerate": "1.7.0"},
    "4.55.4": {"accelerate": "1.10.1"},
    "4.57.3": {"accelerate": "1.12.0"},
}
"""Each Transformers that is used, with the Accelerate of its months."""

WRITERS = {
    "0.4.0": "4.31.0",
    "0.7.1": "4.36.2",
    "0.11.1": "4.41.2",
    "0.14.0": "4.47.1",
    "0.17.1": "4.55.4",
    "0.18.1": "4.57.3",
}
"""The releases of PEFT that write goldens, and the Transformers that each gets."""

READERS = {
    "0.6.2": "4.35.2",
    "0.10.0": "4.41.2",
    "0.13.2": "4.45.2",
    "0.15.2": "4.47.1",
    "0.16.0": "4.52.4",
    "0.19.1": "4.57.3",
    "0.20.0": "4.57.3",
}
"""The releases between them, which only load: by them the release in which a reading changed is known better."""

PINS = dict(sorted({**WRITERS, **READERS}.items(), key=lambda item: [int(part) for part in item[0].split(".")]))

COMMON = {"numpy": "1.26.4", "safetensors": "0.5.3", "scipy": "1.11.4", "scikit-learn": "1.3.2"}
"""The last NumPy that all those Transformers accept, one safetensors, and what LoftQ and AdaMSS want."""


def run(*command: str | Path) -> None:
    """Run a command; CalledProcessError if it fails."""
    subprocess.run([str(part) for part in command], check=True)


def python_of(environment: Path) -> Path:
    """The interpreter of an environment."""
    return environment / "bin" / "python"


def site_packages(environment: Path) -> Path:
    """Where pip puts packages in an environment."""
    return environment / "lib" / f"python{PYTHON[0]}.{PYTHON[1]}" / "site-packages"


def build_shared_torch(folder: Path) -> Path:
    """The environment that holds torch, which is built when it is not there."""
    shared = folder / "torch"
    if not (site_packages(shared) / "torch").is_dir():
        run(sys.executable, "-m", "venv", shared)
        run(python_of(shared), "-m", "pip", "install", "-q", f"torch=={TORCH}")
    return shared


def build(folder: Path, release: str) -> Path:
    """The environment of one PEFT release, which is built when it is not there."""
    environment = folder / release
    complete = environment / "complete"
    if not complete.exists():
        shared = build_shared_torch(folder)
        run(sys.executable, "-m", "venv", "--clear", environment)
        (site_packages(environment) / "shared_torch.pth").write_text(f"{site_packages(shared)}\n")
        transformers = PINS[release]
        pins = {"peft": release, "torch": TORCH, "transformers": transformers, **COMMON, **TRANSFORMERS[transformers]}
        requirements = [f"{name}=={version}" for name, version in pins.items()]
        run(python_of(environment), "-m", "pip", "install", "-q", *requirements)
        run(python_of(environment), "-c", "import peft")
        complete.touch()
    return environment


def main() -> int:
    """Build the environments that were asked for."""
    parser = argparse.ArgumentParser(description="Build one environment for each old PEFT release.")
    parser.add_argument("folder", type=Path, help="where the environments are, or shall be")
    parser.add_argument("--only", nargs="*", choices=[*PINS], default=[*PINS], help="these releases alone")
    arguments = parser.parse_args()
    if sys.version_info[:2] != PYTHON:
        parser.error(f"needs Python {PYTHON[0]}.{PYTHON[1]}")
    for release in arguments.only:
        print(f"{release}: {build(arguments.folder.resolve(), release)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
