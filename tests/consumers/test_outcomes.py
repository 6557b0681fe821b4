"""What releases of PEFT do with small adapters made for one question each."""

from __future__ import annotations

from typing import Any

import pytest

from adapter_format.consumers.held import Held
from adapter_format.consumers.history import Span, fields_at, releases
from adapter_format.consumers.peft import loading_range, loading_ranges, means_default, outcome
from adapter_format.consumers.requests import Request, read_request, read_requests
from adapter_format.errors import UsageError
from adapter_format.outcomes import Outcome, Reason
from adapter_format.tensors import TensorInfo

FACTORS = {
    f"base_model.model.layers.{layer}.{name}.{role}.weight": shape
    for layer in (0, 1)
    for name in ("q_proj", "v_proj")
    for role, shape in (("lora_A", (4, 8)), ("lora_B", (8, 4)))
}


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    return {key: TensorInfo(key, "F32", shape, 0, 0) for key, shape in shapes.items()}


def lora(**fields: Any) -> dict[str, Any]:
    return {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **fields}


def judged(config: dict[str, Any], release: str, shapes: dict[str, tuple[int, ...]] | None = None) -> Outcome:
    return outcome(config, tensors(FACTORS if shapes is None else shapes), release)


def only(found: Outcome) -> Reason:
    assert len(found.reasons) == 1
    return found.reasons[0]


def written_in(release: str, method: str = "LORA", **fields: Any) -> dict[str, Any]:
    """A config with exactly the fields that a release writes."""
    names = fields_at(method, release) - {"runtime_config"}
    return {**dict.fromkeys(names), "peft_type": method, **({"bias": "none"} if "bias" in names else {}), **fields}


@pytest.mark.parametrize("release", releases())
def test_the_oldest_fields_load_everywhere(release: str) -> None:
    found = outcome(lora(), None, release)
    assert (found.name, found.version, found.outcome, found.reasons) == ("peft", release, "ok", ())


@pytest.mark.parametrize(
    ("release", "word"),
    [("0.5.0", "ok"), ("0.6.0", "rejects"), ("0.8.2", "rejects"), ("0.9.0", "ok"), ("0.21.2", "ok")],
)
def test_an_unknown_field_with_its_default(release: str, word: str) -> None:
    found = judged(lora(use_dora=False), release)
    assert found.outcome == word
    if word == "rejects":
        assert only(found).field == "use_dora"
        assert only(found).location.pointer == "/use_dora"
        assert "which came with PEFT 0.9.0" in only(found).message


@pytest.mark.parametrize(("release", "word"), [("0.5.0", "wrong"), ("0.8.2", "rejects"), ("0.9.0", "ok")])
def test_an_unknown_field_that_counts(release: str, word: str) -> None:
    found = judged(lora(use_dora=True), release)
    assert found.outcome == word
    assert all(reason.field == "" for reason in found.reasons)


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("use_bdlora", None, "warns"),
        ("monteclora_config", {}, "warns"),
        ("alora_invocation_tokens", [1], "wrong"),
        ("use_bdlora", {"nblocks": 2}, "rejects"),
        ("velora_config", {"num_groups": 2}, "drops"),
        ("peft_version", "0.21.2", "warns"),
        ("no_release_knows_it", 1, "drops"),
        ("merge_weights", False, "warns"),
    ],
)
def test_what_a_release_makes_of_a_field_that_it_drops(field: str, value: object, word: str) -> None:
    assert judged(lora(**{field: value}), "0.17.1").outcome == word


def test_parameters_that_are_not_adapted() -> None:
    assert judged(lora(target_parameters=["x"]), "0.14.0").outcome == "wrong"
    assert judged(lora(target_parameters=["x"], target_modules=[]), "0.14.0").outcome == "rejects"


@pytest.mark.parametrize("release", ["0.7.1", "0.8.0"])
def test_a_release_that_lacks_the_method(release: str) -> None:
    found = judged({"peft_type": "POLY"}, release)
    assert found.outcome == ("rejects" if release == "0.7.1" else "ok")
    if found.reasons:
        assert only(found).kind == "method"
        assert "came with PEFT 0.8.0" in only(found).message


def test_a_method_that_is_gone_says_where_it_went() -> None:
    reason = only(judged({"peft_type": "BONE"}, "0.19.0"))
    assert "which PEFT 0.14.0 to 0.18.1 have" in reason.message
    assert "miss_block" in reason.mend


@pytest.mark.parametrize("method", [None, "lora", 7, ["LORA"]])
def test_a_method_that_no_release_knows(method: object) -> None:
    assert judged({"peft_type": method}, "0.21.2").outcome == "rejects"


@pytest.mark.parametrize(
    ("value", "release", "word"),
    [
        ("orthogonal", "0.6.2", "drops"),
        ("orthogonal", "0.15.2", "rejects"),
        ("orthogonal", "0.16.0", "ok"),
        ("pissa", "0.6.2", "wrong"),
        ("pissa", "0.10.0", "rejects"),
        ("pissa", "0.11.0", "ok"),
        ("pissa_niter_4", "0.10.0", "rejects"),
        ("pissa_niter_4", "0.21.2", "wrong"),
        ("corda", "0.21.2", "rejects"),
    ],
)
def test_initialisations(value: str, release: str, word: str) -> None:
    assert judged(lora(init_lora_weights=value), release).outcome == word


def test_containers() -> None:
    for release, containers, word in [
        ("0.3.0", {"safetensors"}, "rejects"),
        ("0.3.0", {"safetensors", "bin"}, "ok"),
        ("0.4.0", {"safetensors"}, "ok"),
    ]:
        held = Held(lora(), None, frozenset(containers))
        assert Request("peft", release).judge(held).outcome == word


ONE_KEY = {"rank_pattern": {".*proj": 4}, "alpha_pattern": {"q_proj": 16}}


def test_one_pattern_for_rank_and_alpha() -> None:
    old = written_in("0.7.1", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], **ONE_KEY)
    assert judged(old, "0.10.0").outcome == "ok"
    assert [reason.kind for reason in judged(old, "0.14.0").reasons] == ["layout"]
    assert judged(old, "0.7.0").outcome == "ok"
    assert judged(old, "0.21.2").outcome == "wrong"
    assert judged(lora(**ONE_KEY), "0.7.1").outcome == "wrong"
    assert judged(lora(**ONE_KEY), "0.21.2").outcome == "ok"


def test_a_rank_that_an_old_release_does_not_find_does_not_fit() -> None:
    config = lora(rank_pattern={"^layers.0.q_proj": 2})
    reason = only(judged(config, "0.14.0"))
    assert (reason.outcome, reason.location.pointer) == ("rejects", "/rank_pattern")
    assert "the rank of `layers.0.q_proj` is then 4, not 2" in reason.message


def test_patterns_without_tensors_are_left_open() -> None:
    assert outcome(lora(**ONE_KEY), None, "0.7.1").outcome == "unknown"


EXPERTS = {
    f"base_model.model.model.layers.{layer}.experts.{expert}.up.{role}.weight": shape
    for layer, expert in ((1, 0), (1, 1))
    for role, shape in (("lora_A", (4, 8)), ("lora_B", (8, 4)))
}


@pytest.mark.parametrize(
    ("release", "word"), [("0.7.1", "ok"), ("0.8.0", "wrong"), ("0.19.1", "wrong"), ("0.20.0", "ok")]
)
def test_which_number_of_a_path_is_the_layer(release: str, word: str) -> None:
    config = lora(target_modules=["up"], layers_to_transform=[1])
    assert judged(config, release, EXPERTS).outcome == word


def test_a_layers_pattern_says_which_number_it_is() -> None:
    config = lora(target_modules=["up"], layers_to_transform=1, layers_pattern="layers")
    assert {judged(config, release, EXPERTS).outcome for release in ("0.7.1", "0.8.0", "0.21.2")} == {"ok"}


OFT_OF_07 = {"base_model.model.x.oft_r": (2, 4, 4)}
OFT_OF_14 = {**OFT_OF_07, "base_model.model.x.oft_s": (8, 1)}
OFT_OF_16 = {"base_model.model.x.oft_R.weight": (2, 6)}


@pytest.mark.parametrize(
    ("writer", "shapes", "expected"),
    [
        ("0.7.1", OFT_OF_07, {"0.13.2": "ok", "0.14.0": "rejects", "0.21.2": "rejects"}),
        ("0.14.0", OFT_OF_14, {"0.13.2": "rejects", "0.14.0": "ok", "0.16.0": "rejects", "0.21.0": "wrong"}),
        ("0.17.1", OFT_OF_16, {"0.14.0": "wrong", "0.16.0": "ok", "0.17.1": "ok", "0.18.0": "wrong"}),
        ("0.18.1", OFT_OF_16, {"0.17.1": "wrong", "0.18.0": "ok", "0.21.2": "ok"}),
    ],
)
def test_the_layouts_of_oft(writer: str, shapes: dict[str, tuple[int, ...]], expected: dict[str, str]) -> None:
    fields: dict[str, Any] = {"r": 2, "use_cayley_neumann": True, "oft_block_size": 0, "init_weights": True}
    known = {name: value for name, value in fields.items() if name in fields_at("OFT", writer)}
    config = written_in(writer, "OFT", **known)
    if "peft_version" in config:
        config["peft_version"] = writer
    assert {release: judged(config, release, shapes).outcome for release in expected} == expected


def test_a_loose_bound_on_the_series_of_oft_is_left_open() -> None:
    config = written_in("0.17.1", "OFT", oft_block_size=4, use_cayley_neumann=True, coft=True)
    assert judged(config, "0.18.0", OFT_OF_16).outcome == "unknown"


@pytest.mark.parametrize(("alpha", "word"), [(8, "wrong"), (4, "ok")])
def test_the_scale_of_lokr(alpha: int, word: str) -> None:
    shapes = {"base_model.model.x.lokr_w1": (2, 2), "base_model.model.x.lokr_w2": (4, 4)}
    old = written_in("0.11.1", "LOKR", r=4, alpha=alpha)
    assert judged(old, "0.13.2", shapes).outcome == "ok"
    assert judged(old, "0.14.0", shapes).outcome == word
    new = {"peft_type": "LOKR", "r": 4, "alpha": alpha}
    assert judged(new, "0.14.0", shapes).outcome == "ok"
    assert judged(new, "0.13.2", shapes).outcome == word


def test_biases_of_adapted_layers() -> None:
    beside = {**FACTORS, "base_model.model.layers.0.q_proj.bias": (8,)}
    inside = {**FACTORS, "base_model.model.layers.0.q_proj.base_layer.bias": (8,)}
    other = {**FACTORS, "base_model.model.norm.bias": (8,)}
    for shapes, release, word in [
        (beside, "0.6.2", "ok"),
        (beside, "0.7.0", "wrong"),
        (inside, "0.6.2", "wrong"),
        (inside, "0.7.0", "ok"),
        (other, "0.6.2", "ok"),
        (other, "0.21.2", "ok"),
    ]:
        assert judged(lora(bias="all"), release, shapes).outcome == word


def test_lost_biases_are_left_open_only_for_releases_that_lose_them() -> None:
    for writer, word in [("0.7.1", "ok"), ("0.11.1", "unknown"), ("0.17.1", "unknown"), ("0.21.2", "ok")]:
        config = written_in(writer, r=4, lora_alpha=8, bias="lora_only", target_modules=["q_proj", "v_proj"])
        assert judged(config, "0.21.2").outcome == word


@pytest.mark.parametrize(
    ("step", "release", "word"), [(None, "0.14.0", "ok"), (None, "0.15.0", "rejects"), (9, "0.15.0", "ok")]
)
def test_adalora_without_a_number_of_steps(step: int | None, release: str, word: str) -> None:
    assert judged({"peft_type": "ADALORA", "total_step": step, "lora_dropout": 0.1}, release, {}).outcome == word


@pytest.mark.parametrize(
    ("shape", "last_without"),
    [((4, 8, 3), "0.14.0"), ((4, 8, 3, 3), "0.3.0"), ((4, 8, 3, 3, 3), "0.13.2")],
)
def test_kinds_of_layers_came_one_by_one(shape: tuple[int, ...], last_without: str) -> None:
    shapes = {
        "base_model.model.c.lora_A.weight": shape,
        "base_model.model.c.lora_B.weight": (8, 4, *[1] * (len(shape) - 2)),
    }
    first_with = releases()[releases().index(last_without) + 1]
    assert judged(lora(target_modules=["c"]), last_without, shapes).outcome == "rejects"
    assert judged(lora(target_modules=["c"]), first_with, shapes).outcome == "ok"


def test_experts_are_left_open_between_two_ways_to_read_them() -> None:
    old = written_in("0.17.1", r=4, lora_alpha=8, target_parameters=["experts.up"], target_modules=[])
    assert judged(old, "0.18.1").outcome == "ok"
    assert only(judged(old, "0.21.2")).suspicion == "warning"


def test_the_range_of_releases_that_load_it_right() -> None:
    assert loading_range(lora(), tensors(FACTORS)) == Span("0.1.0", "0.21.2")
    assert loading_ranges(Held(lora(use_dora=False), None)) == (Span("0.1.0", "0.5.0"), Span("0.9.0", "0.21.2"))
    assert loading_range(lora(use_dora=True), None) == Span("0.9.0", "0.21.2")
    assert loading_range({"peft_type": "BONE"}, None) == Span("0.14.0", "0.18.1")
    assert loading_range({"peft_type": "NO_SUCH"}, None) is None
    assert loading_ranges(Held({"peft_type": "NO_SUCH"}, None)) == ()
    assert loading_ranges(Held({"peft_type": "XLORA"}, None)) is None


@pytest.mark.parametrize(
    ("value", "default", "same"),
    [
        (None, None, True),
        (False, None, True),
        (0, False, False),
        (1, True, False),
        ({}, None, True),
        (16, 16, True),
        (8, 16, False),
    ],
)
def test_what_means_the_default(value: object, default: object, same: bool) -> None:
    assert means_default(value, default) is same


def test_requests() -> None:
    assert read_request("peft") == Request("peft", "0.21.2")
    assert read_request(" PEFT == 0.13.2") == Request("peft", "0.13.2")
    assert read_requests(["peft", "peft==0.21.2", "peft==0.4.0"]) == (
        Request("peft", "0.21.2"),
        Request("peft", "0.4.0"),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pefd", "No consumer is called 'pefd'; known here: peft."),
        ("", "No consumer is called ''"),
        ("peft==9", "peft has no release '9' that is known here; those known are from 0.1.0 to 0.21.2."),
        ("peft==0.1", "peft has no release '0.1' that is known here; did you mean 0.1.0?"),
        ("peft==0.13", "did you mean 0.13.2?"),
        ("peft==0.13.9", "did you mean 0.13.2?"),
        ("peft==v0.13.1", "did you mean 0.13.1?"),
        ("peft==", "A consumer is written NAME==VERSION, such as peft==0.13.2; found 'peft=='."),
        ("peft=0.13.2", "NAME==VERSION, such as peft==0.13.2; found 'peft=0.13.2'."),
        ("peft>=0.13", "NAME==VERSION"),
        ("0.13.2", "NAME==VERSION"),
    ],
)
def test_requests_that_name_nothing_known(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_request(text)
    assert sentence in str(raised.value)


HOSTILE: list[dict[str, Any]] = [
    {},
    {"peft_type": "LORA", "layers_to_transform": [None, "x"], "target_modules": ["q"], "layers_pattern": [1, "(("]},
    {"peft_type": "LORA", "rank_pattern": [1], "alpha_pattern": "x"},
    {"peft_type": "LORA", "rank_pattern": {"((": 1, "(a+)+$": "x"}, "alpha_pattern": {"": None}},
    {"peft_type": "OFT", "oft_block_size": {}, "use_cayley_neumann": "yes"},
    {"peft_type": "LORA", "peft_version": 3, "target_parameters": 3, "init_lora_weights": ["pissa"]},
    {"peft_type": "LOKR", "r": "x", "alpha": []},
]


@pytest.mark.parametrize("config", HOSTILE, ids=str)
def test_nothing_in_a_config_stops_the_judgement(config: dict[str, Any]) -> None:
    for release in releases():
        judged(config, release)
