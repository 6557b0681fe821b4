"""Load many adapter folders with the PEFT of the environment that runs this, and print the verdicts as JSON.

    FOLDER/0.14.0/bin/python tests/golden/releases/load.py JOBS RESULTS

JOBS holds a list of `loading.Job` as JSON objects, RESULTS gets the verdicts in the same order. A folder that
raises, and whose config has fields that this release does not know, is tried again without them
(`after_dropping`); `unknown_fields` is null where the release lacks the method. `measure.py` runs this script.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Judge every job."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from tests.golden.releases.surroundings import fill_gaps

    fill_gaps()
    import torch

    from tests.golden.releases.loading import Job, load, load_after_dropping, unknown_fields

    torch.set_num_threads(1)
    jobs, results = (Path(argument) for argument in sys.argv[1:3])
    verdicts = []
    for entry in json.loads(jobs.read_text()):
        job = Job(**entry)
        verdict = load(job)
        unknown = unknown_fields(job.folder)
        if unknown is None or unknown:
            verdict["unknown_fields"] = unknown
        if unknown and verdict["verdict"] == "raises":
            verdict["after_dropping"] = load_after_dropping(job, unknown)
        verdicts.append(verdict)
    results.write_text(json.dumps(verdicts))


if __name__ == "__main__":
    main()
