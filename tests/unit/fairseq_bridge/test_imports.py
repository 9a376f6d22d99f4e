"""Checkpoints from elsewhere: those of all fairseq versions are imported, and code in a file is never run.

Code is run only if the file is trusted.
"""

import argparse
import os
import pickle
from collections import defaultdict

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import numpy
import pytest
import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging.meters import AverageMeter
from omegaconf import DictConfig, OmegaConf, open_dict

from nmtprune.experiment import chain
from nmtprune.fairseq_bridge import imports
from nmtprune.fairseq_bridge.literals import value_of
from nmtprune.foundation.errors import UserError
from nmtprune.store import checkpoints, unpickling

TINY = (
    "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16 "
    "--encoder-ffn-embed-dim 32 "
    "--decoder-ffn-embed-dim 32 --encoder-attention-heads 2 --decoder-attention-heads 2 "
)
LSTM = (
    "--encoder-embed-dim 16 --encoder-hidden-size 16 --decoder-embed-dim 16 --decoder-hidden-size 16 "
    "--decoder-out-embed-dim 16"
)
CONVOLUTIONS = (
    "--encoder-embed-dim 8 --decoder-embed-dim 8 --decoder-out-embed-dim 8 --encoder-layers "
    "[(8,3)]*2 --decoder-layers [(8,3)]*2"
)
KINDS = {
    "iwslt": ("transformer_iwslt_de_en", TINY),
    "share-all": ("transformer", TINY + "--share-all-embeddings"),
    "share-decoder": ("transformer_iwslt_de_en", TINY + "--share-decoder-input-output-embed"),
    "learned": (
        "transformer",
        TINY
        + "--encoder-learned-pos --decoder-learned-pos --max-source-positions 128 --max-target-positions 128",
    ),
    "gelu": (
        "transformer",
        TINY + "--activation-fn gelu --layernorm-embedding --no-scale-embedding --encoder-normalize-before",
    ),
    "adaptive": ("transformer", TINY + "--adaptive-softmax-cutoff 20,40 --criterion adaptive_loss"),
    "fconv": ("fconv_iwslt_de_en", CONVOLUTIONS),
    "lightconv": (
        "lightconv_iwslt_de_en",
        TINY + "--encoder-kernel-size-list [3] --decoder-kernel-size-list [3]",
    ),
    "lstm": ("lstm", LSTM),
    "lstm-bidirectional": (
        "lstm",
        LSTM.replace("decoder-hidden-size 16", "decoder-hidden-size 32") + " --encoder-bidirectional",
    ),
    "align": ("transformer_align", TINY + "--alignment-heads 1 --alignment-layer 0 --full-context-alignment"),
    "eval-bleu": (
        "transformer",
        TINY + '--eval-bleu --eval-bleu-detok moses --eval-bleu-remove-bpe --eval-bleu-args {"beam":5}',
    ),
    "quant-noise": ("transformer", TINY + "--quant-noise-pq 0.1 --quant-noise-pq-block-size 8"),
    "few positions": ("transformer", TINY + "--max-source-positions 4 --max-target-positions 4"),
    "no positions": ("transformer", TINY + "--no-token-positional-embeddings"),
    "cross-self": ("transformer", TINY + "--no-cross-attention --cross-self-attention"),
}
IMPORTED = chain.parse("micro/micro/s1/import-few")
FORMS = ("container", "namespace", "omegaconf", "structured", "legacy file", "meters and numbers", "half")


@pytest.fixture(scope="module")
def binarised(studio):
    return next((studio / "results/data/micro").glob("sentencepiece*")) / "bin"


def built(binarised, kind):
    """fairseq's options, as a namespace and as omegaconf has them, and a model of them."""
    architecture, extra = KINDS[kind]
    criterion = "" if "--criterion" in extra else " --criterion label_smoothed_cross_entropy"
    argv = [
        str(binarised),
        *["--source-lang", "src", "--target-lang", "tgt", "--optimizer", "adam", "--cpu", "--arch"],
        *f"{architecture} {extra}{criterion}".split(),
    ]
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=argv)
    cfg = convert_namespace_to_omegaconf(args)
    torch.manual_seed(1)
    return args, cfg, tasks.setup_task(cfg.task).build_model(cfg.model)


def checkpoint(args, cfg, model, form="container"):
    """A file as some release of fairseq writes it."""
    history = [
        {
            "criterion_name": "x",
            "optimizer_name": "FairseqAdam",
            "lr_scheduler_state": {"best": 1.0},
            "num_updates": 5,
        }
    ]
    saved = {
        "args": None,
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "model": model.state_dict(),
        "optimizer_history": history,
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "val_loss": 1.0},
        "task_state": {},
        "last_optimizer_state": None,
    }
    if form == "namespace":
        saved["args"] = args
        del saved["cfg"]
    if form in ("omegaconf", "structured"):
        whole = OmegaConf.create(saved["cfg"], flags={"allow_objects": True})
        saved["cfg"] = whole
    if form == "structured":
        saved["cfg"].task = cfg.task
        assert isinstance(saved["cfg"].task, DictConfig)
    if form == "meters and numbers":
        meter = AverageMeter()
        meter.update(2.0)
        saved["extra_state"] |= {
            "train_meters": {"loss": meter},
            "best": numpy.float64(3.5),
            "counts": numpy.arange(3),
        }
        saved["extra_state"]["stats"] = defaultdict(float, valid=numpy.float32(1))
    if form == "half":
        saved["model"] = {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in saved["model"].items()
        }
    return saved


def converted(file, binarised, trust=False):
    return imports.convert(imports.read(file, trust), file, binarised, "src", "tgt")


@pytest.mark.parametrize("kind", KINDS)
def test_architectures_of_fairseq_are_imported(binarised, tmp_path, kind):
    args, cfg, model = built(binarised, kind)
    torch.save(checkpoint(args, cfg, model), tmp_path / "model.pt")
    state = converted(tmp_path / "model.pt", binarised)["model"]
    expected = model.state_dict()
    assert state.keys() == expected.keys()
    assert all(
        torch.equal(state[name], tensor) for name, tensor in expected.items() if "_float_tensor" not in name
    )


@pytest.mark.parametrize("kind", ["share-all", "iwslt", "lstm"])
def test_embeddings_of_symbols_that_the_data_do_not_have_are_left_out(binarised, tmp_path, kind):
    args, cfg, model = built(binarised, kind)
    torch.save(checkpoint(args, cfg, model), tmp_path / "model.pt")
    data = tmp_path / "data" / "bin"
    data.mkdir(parents=True)
    for language in ("src", "tgt"):
        lines = (binarised / f"dict.{language}.txt").read_text(encoding="utf-8").splitlines(keepends=True)
        (data.parent / f"dict.{language}.txt").write_text("".join(lines), encoding="utf-8")
        (data / f"dict.{language}.txt").write_text("".join(lines[1::2]), encoding="utf-8")
    if kind == "lstm":
        with pytest.raises(UserError, match="does not fit its dictionaries"):
            converted(tmp_path / "model.pt", data)
        return
    rows = [*range(4), *range(5, 4 + len(lines), 2)]
    theirs, ours = model.state_dict(), converted(tmp_path / "model.pt", data)["model"]
    for name in ("encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection"):
        assert torch.equal(ours[f"{name}.weight"], theirs[f"{name}.weight"][rows])
    assert torch.equal(ours["encoder.layers.0.fc1.weight"], theirs["encoder.layers.0.fc1.weight"])


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_checkpoints_are_imported(binarised, tmp_path, form):
    args, cfg, model = built(binarised, "share-all")
    saved = checkpoint(args, cfg, model, form)
    torch.save(saved, tmp_path / "model.pt", _use_new_zipfile_serialization=form != "legacy file")
    found = converted(tmp_path / "model.pt", binarised)
    assert found["optimizer_history"][-1]["num_updates"] == 5
    name = "decoder.layers.0.fc1.weight"
    assert torch.equal(found["model"][name], saved["model"][name].float())


def test_a_line_beyond_the_positions_of_an_import_is_refused_as_it_is_imported(bench, binarised, tmp_path):
    args, cfg, model = built(binarised, "few positions")
    torch.save(checkpoint(args, cfg, model), tmp_path / "model.pt")
    workplace = bench()
    data = binarised.parent
    given = {
        "checkpoint": str(tmp_path / "model.pt"),
        "dictionaries": str(binarised),
        "subwords": str(next(data.glob("*.model"))),
    }
    workplace.configure(imports={"few": given})
    done = workplace.nmtprune("data", "micro", workplace.config.data_folder(IMPORTED).name)
    assert done.returncode == 0, done.stderr
    said = (
        r"line \d+ of the source side of `dev` has \d+ pieces, .* the model has positions for 4: shorten "
        r"the line"
    )
    with pytest.raises(UserError, match=said):
        workplace.make(str(IMPORTED))


def test_what_an_import_leaves_is_read_as_our_own(binarised, tmp_path):
    torch.save(checkpoint(*built(binarised, "iwslt")), tmp_path / "theirs.pt")
    checkpoints.save(converted(tmp_path / "theirs.pt", binarised), tmp_path / "ours.pt")
    assert checkpoints.read(tmp_path / "ours.pt")["cfg"]["task"]["_name"] == "translation"


def test_vectors_that_training_began_with_may_be_gone(binarised, tmp_path):
    args, cfg, model = built(binarised, "iwslt")
    with open_dict(cfg):
        for side in ("encoder", "decoder"):
            setattr(cfg.model, f"{side}_embed_path", "/home/someone/vectors.txt")
            setattr(args, f"{side}_embed_path", "/home/someone/vectors.txt")
    for form in ("container", "namespace"):
        torch.save(checkpoint(args, cfg, model, form), tmp_path / "model.pt")
        assert (
            checkpoints.options_by_name(converted(tmp_path / "model.pt", binarised)["cfg"]["model"])[
                "encoder_embed_path"
            ]
            is None
        )


def test_other_files_are_refused_in_a_sentence(binarised, tmp_path):
    for content in ({"model": {"a": torch.zeros(2)}}, [1, 2]):
        torch.save(content, tmp_path / "plain.pt")
        with pytest.raises(UserError, match="is not a fairseq checkpoint"):
            converted(tmp_path / "plain.pt", binarised)


class Program:
    """What pickle calls for whoever loads it."""

    def __init__(self, call, *arguments):
        self._called = call, arguments

    def __reduce__(self):
        return self._called


PROGRAMS = {
    "posix.system": lambda mark: Program(os.system, f"touch {mark}"),
    "eval": lambda mark: Program(eval, f"open({str(mark)!r}, 'w')"),
    "pathlib.Path.touch": lambda mark: Program(getattr, Program(type(mark), str(mark)), "touch"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_in_a_checkpoint_is_refused_and_does_not_run(binarised, tmp_path, name, legacy):
    mark = tmp_path / "has_run"
    saved = checkpoint(*built(binarised, "iwslt"))
    saved["extra_state"]["program"] = PROGRAMS[name](mark)
    torch.save(saved, tmp_path / "model.pt", _use_new_zipfile_serialization=not legacy)
    for read in (
        lambda: converted(tmp_path / "model.pt", binarised),
        lambda: checkpoints.read(tmp_path / "model.pt"),
    ):
        with pytest.raises(
            UserError,
            match=r"model\.pt asks for `.*` when it is loaded, .*; (.*`trust: true`|no file of nmtprune)",
        ) as error:
            read()
        assert len(str(error.value).splitlines()) == 1 and not mark.exists()
    if name == "posix.system":
        assert "`posix.system`" in str(error.value)
        assert converted(tmp_path / "model.pt", binarised, trust=True)["model"]
        assert mark.exists()


def test_fairseqs_own_loading_runs_no_program_either(tmp_path):
    from fairseq import checkpoint_utils

    mark = tmp_path / "has_run"
    torch.save({"model": Program(os.system, f"touch {mark}")}, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"`posix\.system`.*`trust: true`"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "model.pt"))
    assert not mark.exists()


def test_options_that_fairseq_evaluates_are_literals(binarised, tmp_path):
    """Convolutional models pass `encoder_layers` to `eval`, which unpickling cannot prevent."""
    args, cfg, model = built(binarised, "fconv")
    mark = tmp_path / "has_run"
    saved = checkpoint(args, cfg, model)
    saved["cfg"]["model"].encoder_layers = f"__import__('os').system('touch {mark}')"
    torch.save(saved, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"cannot build its model: .* is not a literal"):
        converted(tmp_path / "model.pt", binarised)
    assert not mark.exists()


def test_literals():
    assert value_of("[(512, 3)] * 2 + [(8, -1)]") == [(512, 3), (512, 3), (8, -1)]
    assert value_of(" {'a': (0.9, 0.98)} ") == {"a": (0.9, 0.98)} and value_of("True") is True
    for text in ("f()", "x", "[x for x in (1,)]", "().__class__", "1 if 2 else 3", "lambda: 0", ""):
        with pytest.raises(ValueError, match="is not a literal"):
            value_of(text)


def test_our_own_files_hold_data_alone(studio):
    """Every kind of our own files loads with one allowed class, the namespace of fairseq's options."""
    directory = studio.make("micro/micro/s1/train/prune-local-50/retrain")
    for file in (
        *directory.glob("*.pt"),
        *directory.parent.glob("*.pt"),
        *directory.parent.parent.rglob("*.pt"),
    ):
        checkpoints.read(file)
    assert unpickling.load(directory / "model.pt").keys() >= {"cfg", "model"}
    with pytest.raises(pickle.UnpicklingError):
        torch.load(directory / "model.pt", weights_only=True)  # which holds that namespace
    assert isinstance(checkpoints.read(directory / "model.pt")["cfg"]["model"], argparse.Namespace)
