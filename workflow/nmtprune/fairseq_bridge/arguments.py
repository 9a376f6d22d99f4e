"""Translate the settings of recipes into fairseq's options."""

from __future__ import annotations

from pathlib import Path

from nmtprune.experiment.architecture import Architecture
from nmtprune.experiment.schedule import Schedule

_LAYERS = {"encoder_layers": ["encoder-layers"], "decoder_layers": ["decoder-layers"], "dropout": ["dropout"]}
_ATTENTION = {
    **_LAYERS,
    "embed_dim": ["encoder-embed-dim", "decoder-embed-dim"],
    "ffn_dim": ["encoder-ffn-embed-dim", "decoder-ffn-embed-dim"],
    "heads": ["encoder-attention-heads", "decoder-attention-heads"],
    "attention_dropout": ["attention-dropout"],
}
_TRANSFORMER = {**_ATTENTION, "activation_dropout": ["activation-dropout"]}
OPTIONS: dict[str, dict[str, list[str]]] = {
    "transformer": {**_TRANSFORMER, "layer_drop": ["encoder-layerdrop", "decoder-layerdrop"]},
    "nmtprune_transformer": {
        **_TRANSFORMER,
        "head_dim": ["head-dim"],
        "decoder_self": ["decoder-self"],
        "sub_layer_drop": ["sub-layer-drop"],
    },
    "lightconv_wmt_en_de_big": {**_ATTENTION, "conv_type": ["encoder-conv-type", "decoder-conv-type"]},
    "lstm_luong_wmt_en_de": {
        **_LAYERS,
        "embed_dim": [
            "encoder-embed-dim",
            "decoder-embed-dim",
            "encoder-hidden-size",
            "decoder-hidden-size",
            "decoder-out-embed-dim",
        ],
    },
    "nmtprune_lstm": {
        **_LAYERS,
        "embed_dim": ["embed-dim"],
        "attention": ["attention"],
        "init_scale": ["init-scale"],
    },
}
# Kernel sizes of LightConv by layer, as in fairseq's default for 7 layers; the last one repeats.
_KERNELS = (3, 7, 15, 31)
SHARED = {"none": [], "target": ["--share-decoder-input-output-embed"], "all": ["--share-all-embeddings"]}


def of_architecture(architecture: Architecture) -> list[str]:
    """The options of fairseq for an architecture.

    Settings that the recipe omits have the defaults of `--arch`.
    """
    name, said = architecture.name, architecture.said
    if name == "nmtprune_transformer" and architecture.embed_dim and architecture.heads:
        # stored in the checkpoint, since pruning may leave no layer with all its heads
        said = {"head_dim": architecture.embed_dim // architecture.heads, **said}
    options = ["--arch", name, *SHARED[architecture.share_embeddings]]
    if architecture.norm == "pre":
        options += ["--encoder-normalize-before", "--decoder-normalize-before"]
    if architecture.tied_decoder_layers:
        options += ["--tied-decoder-layers"]
    for key, flags in OPTIONS[name].items():
        if key in said:
            options += [part for flag in flags for part in (f"--{flag}", str(said[key]))]
    if name.startswith("lightconv"):
        sides = {"encoder": architecture.encoder_layers, "decoder": architecture.decoder_layers}
        for side, layers in sides.items():
            kernels = [_KERNELS[min(layer, len(_KERNELS) - 1)] for layer in range(layers)]
            options += [f"--{side}-kernel-size-list", str(kernels)]
    return options


def of_schedule(schedule: Schedule) -> list[str]:
    """The options of fairseq for a training schedule, without its precision.

    The learning rate is constant here: the training loop sets it before every update.
    """
    optimizer = schedule.optimizer
    options = ["--max-tokens", schedule.batch_tokens, "--update-freq", schedule.accumulate]
    if schedule.batch_sentences:
        options += ["--batch-size", schedule.batch_sentences]
    options += ["--max-update", schedule.updates, "--clip-norm", schedule.clip_norm]
    options += ["--optimizer", optimizer.name, "--weight-decay", optimizer.weight_decay]
    options += ["--lr-scheduler", "fixed", "--lr", 1.0]
    if optimizer.name == "adam":
        options += [
            "--adam-betas",
            str(optimizer.betas),
            "--adam-eps",
            optimizer.eps,
        ]
    options += ["--label-smoothing", schedule.label_smoothing]
    options += ["--sentence-avg"] * schedule.sentence_average
    return [str(option) for option in options]


def of_data(binarised: Path, source: str, target: str) -> list[str]:
    """The options of fairseq for a binarised data folder and its languages."""
    return [str(binarised), "--task", "translation", "--source-lang", source, "--target-lang", target]
