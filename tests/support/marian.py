"""Small random Marian models of transformers, in folders as OPUS-MT has them, with subwords."""

import functools
import io
import json
import random

import torch

from nmtprune.fairseq_bridge import marian as bridge
from nmtprune.store import checkpoints, marian_settings
from nmtprune.store.model import SPECIAL_SYMBOLS, Model

MODELS = {
    "swish, all tied": {"activation_function": "swish", "scale_embedding": True},
    "relu, own target": {
        "activation_function": "relu",
        "share_encoder_decoder_embeddings": False,
        "encoder_layers": 1,
        "decoder_layers": 3,
    },
    "gelu, own output": {
        "activation_function": "gelu",
        "share_encoder_decoder_embeddings": False,
        "tie_word_embeddings": False,
        "scale_embedding": True,
        "encoder_layers": 3,
        "decoder_layers": 1,
    },
}
TIED = "swish, all tied"
SHAPE = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 64,
    "dropout": 0.1,
}
PIECES = 90  # of each side's subwords


def lines(side, count=400, seed=1):
    """Random sentences of invented words, other ones on each side."""
    generator = random.Random(f"{side} {seed}")
    words = random.Random(side)
    lexicon = [
        "".join(words.choice("ptkbdg") + words.choice("aeiou") for _ in range(words.randint(1, 3)))
        for _ in range(40)
    ]
    return [" ".join(generator.choices(lexicon, k=generator.randint(2, 9))) for _ in range(count)]


@functools.cache
def pieces_of(text):
    """A SentencePiece model of some lines, as bytes."""
    from sentencepiece import SentencePieceTrainer

    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=written,
        vocab_size=PIECES,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return written.getvalue()


def vocabularies(models, shared):
    """Numbers of pieces as in OPUS-MT; vocabularies of one side each have equally many pieces."""
    from sentencepiece import SentencePieceProcessor

    sides = []
    for model in models:
        read = SentencePieceProcessor(model_proto=model)
        sides.append([read.id_to_piece(number) for number in range(3, len(read))])
    if shared:
        both = list(dict.fromkeys([*sides[0], *sides[1]]))
        return [{piece: number for number, piece in enumerate(["</s>", "<unk>", *both, "<pad>"])}] * 2
    most = min(map(len, sides))
    return [
        {piece: number for number, piece in enumerate(["</s>", "<unk>", *side[:most], "<pad>"])}
        for side in sides
    ]


def write(folder, name=TIED, texts=None, more=(), **settings):
    """Write a random model of MODELS to a folder; returns transformers' own model with its weights.

    `texts`: lines of source and target that the subwords are learnt from; `more`: pieces that they do not
    have.
    """
    import transformers

    said = MODELS[name] | settings
    texts = texts or [lines("source"), lines("target")]
    spm = [pieces_of(tuple(text)) for text in texts]
    source, target = vocabularies(spm, said.get("share_encoder_decoder_embeddings", True))
    for piece in more:  # before padding
        source[piece], source["<pad>"] = source["<pad>"], len(source)
    config = transformers.MarianConfig(
        vocab_size=len(source),
        decoder_vocab_size=len(target),
        eos_token_id=target["</s>"],
        forced_eos_token_id=target["</s>"],
        pad_token_id=target["<pad>"],
        decoder_start_token_id=target["<pad>"],
        **(SHAPE | said),
    )
    torch.manual_seed(1)
    model = transformers.MarianMTModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1 if parameter.dim() > 1 else 0.3)
        for embeddings in {model.get_encoder().embed_tokens, model.get_decoder().embed_tokens}:
            embeddings.weight.mul_(3)
        model.final_logits_bias.normal_()
    model.save_pretrained(folder)
    for side, written in zip(("source", "target"), spm, strict=True):
        (folder / f"{side}.spm").write_bytes(written)
    (folder / "vocab.json").write_text(json.dumps(source))
    if source is not target and source != target:
        (folder / "target_vocab.json").write_text(json.dumps(target))
    return model


def imported(folder):
    """A folder's model as engines take it."""
    saved = bridge.read(folder)
    shape = marian_settings.read_shape(folder)
    symbols = [
        [*SPECIAL_SYMBOLS, *marian_settings.pieces(numbers)]
        for numbers in marian_settings.read_vocabularies(folder, shape)
    ]
    return Model(saved["model"], checkpoints.options_by_name(saved["cfg"].model), *symbols)


def numbers(vocabulary, symbols):
    """Marian's number of each symbol of a dictionary; that of padding for one that it does not have."""
    return torch.tensor([vocabulary.get(symbol, vocabulary["<pad>"]) for symbol in symbols])


def read_vocabularies(folder):
    """The numbers of source and target pieces."""
    return marian_settings.read_vocabularies(folder, marian_settings.read_shape(folder))
