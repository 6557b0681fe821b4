"""Why later PEFT does not compute what some of these goldens were saved with, and in which releases."""

from __future__ import annotations

from typing import NamedTuple

from tests.golden.releases.recipes import numbers


class Reason(NamedTuple):
    """Why some goldens, of the releases from `first` to `last`, do not come back."""

    goldens: tuple[str, ...]
    first: str
    last: str
    changed_in: str | None
    """The first release that reads the file otherwise; None where the file itself is not what was trained."""
    why: str
    mended_in: str | None = None
    """The first later release that reads it right again."""


OFT = ("oft_block_share", "oft_block_size", "oft_coft", "oft_conv2d", "oft_plain")

REASONS = [
    Reason(
        ("lora_bias_all", "lora_bias_lora_only"), "0.4.0", "0.6.2", "0.7.0",
        "Since 0.7.0 an adapted layer wraps the base layer: its bias is `<module>.base_layer.bias`, while the file says"
        " `<module>.bias`, which is dropped in silence.",
    ),
    Reason(
        ("lora_bias_lora_only",), "0.10.0", "0.20.0", None,
        "These releases train the biases of `bias: lora_only` and do not store them.",
    ),
    Reason(
        ("lora_named_zero", "lora_named_self_attn"), "0.3.0", "0.17.1", None,
        "The adapter's name was cut out of every key wherever it stood, module paths included.",
    ),
    Reason(
        ("lora_pissa_niter",), "0.11.0", "0.21.2", None,
        "The base that belongs to the file is the residual of a randomised SVD, which no loader finds again.",
    ),
    Reason(
        ("lora_both_patterns",), "0.6.0", "0.13.2", "0.14.0",
        "Up to 0.13.2 one pattern was chosen for a module, rank patterns first, and looked up in both dictionaries, so"
        " a module that a rank pattern hit never got its alpha pattern; since 0.14.0 each is looked up by itself.",
    ),
    Reason(
        ("lora_pattern_of_top_level_module",), "0.6.0", "0.14.0", "0.15.0",
        "Up to 0.14.0 a pattern wanted a dot before it, so as a regex it never hit a module without a parent; since"
        " 0.15.0 it does, and the rank is another than that of the tensors.",
    ),
    Reason(
        ("lora_grouped_conv",), "0.7.0", "0.15.2", "0.16.0",
        "Since 0.16.0 the B of a convolution in groups is itself grouped: `[c_out, r / groups, ...]`, not"
        " `[c_out, r, ...]`.",
    ),
    Reason(
        ("lora_expert_parameter",), "0.17.0", "0.18.1", "0.19.0",
        "Since 0.19.0 a 3-d parameter is read as `[experts, d_out, d_in]`, before as `[experts, d_in, d_out]`: A and B"
        " have each other's widths.",
    ),
    Reason(
        ("lora_layers_of_numbered_experts",), "0.8.0", "0.19.1", "0.20.0",
        "From 0.8.0 to 0.19.1 the last number of a module path was the layer of `layers_to_transform`, since 0.20.0 it"
        " is the first.",
    ),
    Reason(
        ("lora_layers_of_numbered_experts",), "0.4.0", "0.7.1", "0.8.0",
        "Up to 0.7.1 the number after one of the names `layers`, `h`, `block` and the like was the layer of"
        " `layers_to_transform`; from 0.8.0 to 0.19.1 the last number, since 0.20.0 the first.",
        mended_in="0.20.0",
    ),
    Reason(
        ("prompt_tuning_classifier",), "0.3.0", "0.12.0", "0.13.0",
        "0.13 fails on every prompt method with a classifier: a defect of those releases, not of the file.",
        mended_in="0.14.0",
    ),
    Reason(
        ("adalora_total_step_null",), "0.3.0", "0.14.0", "0.15.0",
        "Since 0.15.0 `total_step` must be a positive number. Any number that exceeds `tinit` + `tfinal` mends the"
        " file: it is of no use in inference.",
    ),
    Reason(
        ("lokr_plain",), "0.6.0", "0.13.2", "0.14.0",
        "Up to 0.13.2 the factor alpha / r was left out. `alpha` set to `r` mends the file.",
    ),
    Reason(
        OFT, "0.7.0", "0.13.2", "0.14.0",
        "OFT changed in 0.14.0, which refuses a config without `oft_block_size`: before, `oft_r` turned the outputs"
        " in blocks of d_out / r, since then the inputs, and `oft_s` is new.",
    ),
    Reason(
        OFT, "0.14.0", "0.15.2", "0.16.0",
        "Since 0.16.0 the tensor is `oft_R.weight`, the upper triangles alone, in place of `oft_r` and `oft_s`. 0.16.0"
        " to 0.20.0 refuse the old file; 0.21 warns of missing keys and leaves the base as it is.",
    ),
    Reason(
        ("oft_block_share", "oft_block_size", "oft_conv2d", "oft_plain"), "0.16.0", "0.17.1", "0.18.0",
        "The series of `use_cayley_neumann` (true by default) has another last term since 0.18.0.",
    ),
    Reason(
        ("boft_conv2d",), "0.11.0", "0.13.2", "0.14.0",
        "Up to 0.13.2 the weight of a convolution was reshaped, not transposed, before it was rotated: other weights"
        " were mixed.",
    ),
    Reason(
        ("bone_plain", "bone_bat"), "0.14.0", "0.18.1", "0.19.0",
        "The method BONE was taken out in 0.19.0. MISS is the same: rename `bone_block` to `miss_block`, `peft_type` to"
        " `MISS`.",
    ),
]  # fmt: skip


def reason(golden: str, writer: str) -> Reason | None:
    """The reason for one golden of one release, if there is one."""
    for entry in REASONS:
        if golden in entry.goldens and numbers(entry.first) <= numbers(writer) <= numbers(entry.last):
            return entry
    return None
