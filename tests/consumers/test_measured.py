"""What we say that each release of PEFT does, against what each was measured to do with the golden adapters."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

from adapter_format.consumers.held import Held, held_in
from adapter_format.consumers.history import releases
from adapter_format.consumers.peft import outcome_in
from adapter_format.consumers.requests import Request
from adapter_format.reading import read_checkpoint
from adapter_format.repair.retarget import retarget

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
NEWEST = "0.21.2"
SAME, DIFFERS, RAISES, OPEN = "same", "differs", "raises", "unknown"
VERDICT = {"ok": SAME, "warns": SAME, "drops": SAME, "wrong": DIFFERS, "rejects": RAISES, "unknown": OPEN}

DAMAGED = "the writer damaged it, which other rules find"
UNSEEN = "the folder does not show it: it depends on the base model"
ELSEWHERE = "it depends on other adapters or libraries"
JUSTIFIED = {
    "adapter_named_zero": DAMAGED,
    "lora_named_zero/0": DAMAGED,
    "lora_named_self_attn/self_attn": DAMAGED,
    "compiled_base": DAMAGED,
    "alpha_pattern_reordered": DAMAGED,
    "rank_pattern_reordered": DAMAGED,
    "converted_pissa_modules_to_save": DAMAGED,
    "hira_rank_pattern_followed/second": DAMAGED,
    "lora_grouped_conv": UNSEEN,
    "lora_bias_lora_only": UNSEEN,
    "lora_expert_parameter": UNSEEN,
    "expert_parameter": UNSEEN,
    "expert_parameters_nested": UNSEEN,
    "expert_parameters_transposed": UNSEEN,
    "adalora_conv2d": UNSEEN,
    "loha_conv1d": UNSEEN,
    "loha_effective_conv1d": UNSEEN,
    "lokr_conv1d": UNSEEN,
    "ia3_linear": UNSEEN,
    "ia3_feedforward": UNSEEN,
    "ia3_feedforward_regex": UNSEEN,
    "ia3_bin": UNSEEN,
    "adaption_prompt_gpt2": UNSEEN,
    "adaption_prompt_llama": UNSEEN,
    "adaption_prompt_last_layer": UNSEEN,
    "quantized_base": UNSEEN,
    "quantized_base_bias": UNSEEN,
    "fp8": UNSEEN,
    "ln_tuning_bf16_base": UNSEEN,
    "oft_coft": "how much the changed series matters depends on the bound and the values",
    "xlora_plain": ELSEWHERE,
    "xlora_depth_1": ELSEWHERE,
    "xlora_depth_2": ELSEWHERE,
    "xlora_depth_3": ELSEWHERE,
    "init_loftq": ELSEWHERE,
    "init_loftq_without_quantiser": ELSEWHERE,
    "adamss_linear": ELSEWHERE,
    "adamss_llama": ELSEWHERE,
    "adamss_dynamic_rank": ELSEWHERE,
}
"""Goldens of which some release does something else than we say, and why we can't know better."""

AFTER_DROPPING = {"bf16_mixed": "PEFT 0.7 computes with less precision"}
"""Goldens that a release does not load right once the fields are dropped that it does not know."""


class Measured(NamedTuple):
    """What one release was measured to do with one golden.

    Attributes:
        golden: its name, without the folder of its writer.
        folder: where it is.
        release: the reader.
        verdict: what it did.
        after_dropping: what it did once all fields that it does not know were taken out of the config.
    """

    golden: str
    folder: str
    release: str
    verdict: str
    after_dropping: str


@functools.cache
def measurements() -> tuple[Measured, ...]:
    found = []
    for golden in json.loads((GOLDEN / "releases/manifest.json").read_text(encoding="utf-8"))["goldens"]:
        for release, said in golden["loads_in"].items():
            name = golden["folder"].partition("/")[2]
            found.append(_measured(name, f"releases/{golden['folder']}", release, said))
    newest = json.loads((GOLDEN / "releases/newest_in_old.json").read_text(encoding="utf-8"))["goldens"]
    for folder, golden in newest.items():
        name = folder.partition("/")[2]
        found.append(Measured(name, folder, NEWEST, golden["in_newest"], golden["in_newest"]))
        found += [_measured(name, folder, release, said) for release, said in golden.items() if release in releases()]
    return tuple(one for one in found if one.verdict in (SAME, DIFFERS, RAISES))


def _measured(name: str, folder: str, release: str, said: dict) -> Measured:
    return Measured(name, folder, release, said["verdict"], said.get("after_dropping", said)["verdict"])


@functools.cache
def held(folder: str) -> Held:
    found = held_in(read_checkpoint(str(GOLDEN / folder)))
    assert found is not None
    return found


def said(one: Measured) -> str:
    return VERDICT[outcome_in(one.release, held(one.folder)).outcome]


def test_there_are_thousands_of_measurements_over_many_releases() -> None:
    assert len(measurements()) > 5000
    assert len({one.release for one in measurements()}) >= 14


def test_each_release_does_what_we_say_but_for_reasons() -> None:
    otherwise = {one.golden for one in measurements() if said(one) != one.verdict}

    assert otherwise == set(JUSTIFIED)


def test_nothing_that_a_release_loads_right_is_called_wrong_or_refused() -> None:
    accused = {
        (one.folder, one.release) for one in measurements() if one.verdict == SAME and said(one) not in (SAME, OPEN)
    }

    assert accused == set()


def test_a_release_that_loads_it_wrong_is_not_said_to_refuse_it_nor_the_other_way_round() -> None:
    confused = {(one.golden, one.release) for one in measurements() if {one.verdict, said(one)} == {DIFFERS, RAISES}}

    # A base that computes with bytes fails in PEFT 0.4, whatever the adapter holds.
    assert confused == {("quantized_base_bias", "0.4.0")}


def test_what_the_mend_lets_pass_loads_right_afterwards() -> None:
    failed = set()
    for one in measurements():
        adapter = held(one.folder)
        if one.golden in JUSTIFIED:
            continue
        plan = retarget(adapter, "{}", Request("peft", one.release))
        if not plan.obstacles and one.after_dropping != SAME:
            failed.add(one.golden)

    assert failed == set(AFTER_DROPPING)
