"""A Marian model is imported, pruned, retrained, sliced and exported as any other, and written back."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.marian import MODELS, TIED, imported, read_vocabularies, write
from support.workplace import Workplace

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import chain, paths
from nmtprune.experiment.search import Search
from nmtprune.export import marian
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_lines
from nmtprune.store import checkpoints
from nmtprune.store.model import of_chain, pieces_of
from nmtprune.translation.batching import negative_log_likelihoods, translate
from nmtprune.translation.opening import open_engine

UNUSED = [f"▁unused{number}" for number in range(12)]
PRUNED = "micro/micro/s1/import-opus/prune-global-40"
RETRAINED = f"{PRUNED}/retrain"
SLICED = "micro/micro-student/s1/import-opus/lasso-ffn-both-to50/slice"
SEARCH = Search(beam=2, max_len_a=0.0, max_len_b=12)


@pytest.fixture(scope="module")
def made(studio, tmp_path_factory):
    """A workplace with a Marian model of the micro task, and chains that begin with it."""
    workplace = Workplace(tmp_path_factory.mktemp("marian"))
    text = workplace / "results" / "data" / "micro" / "text"
    shutil.copytree(studio / "results" / "data" / "micro" / "text", text)
    texts = [read_lines(text / f"train.{language}") for language in ("src", "tgt")]
    write(workplace / "opus", texts=texts, more=UNUSED, max_position_embeddings=256)
    folder = str(workplace / "opus")
    workplace.configure(
        imports={"opus": {"marian": folder}, "small": {"marian": folder, "vocabulary": "trim"}}
    )
    for name in ("opus", "small"):
        done = workplace.nmtprune("data", "micro", f"given-{name}")
        assert done.returncode == 0, done.stderr
    never_write_unused(workplace)
    workplace.make(RETRAINED)
    workplace.make(SLICED)
    workplace.make("micro/micro/s1/import-small")
    return workplace


def used_pieces(made):
    """All pieces of the text, on both sides, in every set."""
    sets = (pieces_in(made, split=split) for split in ("train", "dev", "test"))
    return {piece for pair in sets for side in pair for pieces in side for piece in pieces}


def never_write_unused(made):
    """Give pieces that no text has a bias with which the model never writes them."""
    file, numbers = made / "opus" / "model.safetensors", read_json(made / "opus" / "vocab.json")
    tensors = load_file(file)
    for piece in numbers.keys() - used_pieces(made) - {"</s>", "<unk>", "<pad>"}:
        tensors["final_logits_bias"][0, numbers[piece]] = -60
    save_file(tensors, file, {"format": "pt"})


def model_of(made, address):
    with made.inside():
        return of_chain(made.config, chain.parse(address))


def pieces_in(made, name="opus", split="test"):
    """The source and target pieces of a set's lines."""
    folder = made / "results" / "data" / "micro"
    subwords = Subwords.load(folder / f"given-{name}")
    return [
        [
            pieces_of(subwords.encode(side, line))
            for line in read_lines(folder / "text" / f"{split}.{language}")
        ]
        for side, language in (("source", "src"), ("target", "tgt"))
    ]


def exported(made, address, folder):
    with made.inside():
        marian.export(made.config, chain.parse(address), folder)
    return folder


def likelihoods_in_transformers(folder, sources, targets):
    import transformers

    model = transformers.MarianMTModel.from_pretrained(folder).eval()
    vocabularies, start = read_vocabularies(folder), model.config.decoder_start_token_id
    found = []
    for source, target in zip(sources, targets, strict=True):
        inputs, outputs = (
            [*(numbers.get(piece, 1) for piece in pieces), 0]
            for numbers, pieces in zip(vocabularies, (source, target), strict=True)
        )
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([inputs]), decoder_input_ids=torch.tensor([[start, *outputs[:-1]]])
            ).logits[0]
        found.append(-float(logits.log_softmax(-1)[torch.arange(len(outputs)), outputs].sum()))
    return found


def test_the_import_has_the_weights_of_the_folder(made):
    ours, read = model_of(made, "micro/micro/s1/import-opus"), imported(made / "opus")
    assert ours.source_dictionary == ours.target_dictionary == read.source_dictionary
    assert ours.weights.keys() - read.weights.keys() == {"encoder.version", "decoder.version"}
    assert all(torch.equal(ours.weights[name], tensor) for name, tensor in read.weights.items())


def test_text_is_segmented_as_by_their_tokeniser(made):
    import transformers

    tokeniser = transformers.MarianTokenizer.from_pretrained(made / "opus")
    numbers, lines = read_json(made / "opus" / "vocab.json"), ["", "an Unseen, word!"]
    lines += read_lines(made / "results/data/micro/text/test.src")
    subwords = Subwords.load(made / "results/data/micro/given-opus")
    for line in lines:
        pieces = pieces_of(subwords.encode("source", line))
        assert [*(numbers.get(piece, numbers["<unk>"]) for piece in pieces), 0] == tokeniser(line).input_ids
    for piece in numbers:
        if piece not in ("</s>", "<unk>", "<pad>"):
            ours = subwords.decode(f"{piece} {UNUSED[0]}")
            assert ours.strip() == tokeniser.convert_tokens_to_string([piece, UNUSED[0]])


def test_pruned_weights_stay_zero_in_training_and_the_output_bias_stays(made):
    masks = checkpoints.read_masks(made.model(PRUNED) / "mask.pt")
    after = checkpoints.read(made.model(RETRAINED) / "last.pt")["model"]
    before = model_of(made, "micro/micro/s1/import-opus").weights
    assert all(not after[name][~mask].any() for name, mask in masks.items())
    assert torch.equal(after["decoder.output_projection.bias"], before["decoder.output_projection.bias"])
    history = (made.model(RETRAINED) / "history.csv").read_text().splitlines()
    losses = [float(line.split(",")[history[0].split(",").index("dev_nll")]) for line in history[1:]]
    assert losses[-1] < losses[0]


def test_an_import_is_written_back_as_it_was(made, tmp_path):
    folder = exported(made, "micro/micro/s1/import-opus", tmp_path / "back")
    theirs, ours = (load_file(each / "model.safetensors") for each in (made / "opus", folder))
    assert theirs.keys() == ours.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert read_json(folder / "vocab.json") == read_json(made / "opus" / "vocab.json")
    for name in ("source.spm", "target.spm"):
        assert (folder / name).read_bytes() == (made / "opus" / name).read_bytes()
    said, written = read_json(made / "opus" / "config.json"), read_json(folder / "config.json")
    ours_alone = {"tie_word_embeddings", "torch_dtype"}
    assert {name: said[name] for name in written.keys() - ours_alone} == {
        name: written[name] for name in written.keys() - ours_alone
    }


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_of_every_kind_are_written_back(tmp_path, name):
    write(tmp_path / "theirs", name)
    (tmp_path / "back").mkdir()
    marian.write(imported(tmp_path / "theirs"), tmp_path / "back")
    theirs, ours = (load_file(tmp_path / each / "model.safetensors") for each in ("theirs", "back"))
    assert theirs.keys() == ours.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("name", [name for name in MODELS if name != TIED])
def test_vocabularies_of_two_sizes_are_written_back(tmp_path, name):
    write(tmp_path / "theirs", name)
    whole = imported(tmp_path / "theirs")
    rows = [0, 1, 2, 3, *range(4, len(whole.target_dictionary), 2)]
    of_target = ("embed_tokens.weight", "output_projection.weight", "output_projection.bias")
    kept = {f"decoder.{each}": whole.weights[f"decoder.{each}"][rows] for each in of_target}
    pieces = [whole.target_dictionary[row] for row in rows]
    fewer = replace(whole, weights=whole.weights | kept, target_dictionary=pieces)
    (tmp_path / "back").mkdir()
    marian.write(fewer, tmp_path / "back")
    read = imported(tmp_path / "back")
    assert read.target_dictionary == pieces and read.source_dictionary == whole.source_dictionary
    assert all(torch.equal(read.weights[each], tensor) for each, tensor in fewer.weights.items())
    sources, targets = ([each[4:9], each[6:8]] for each in (whole.source_dictionary, pieces))
    expected = negative_log_likelihoods(open_engine(fewer, "onnx"), sources, targets)
    found = likelihoods_in_transformers(tmp_path / "back", sources, targets)
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("address", [PRUNED, RETRAINED, "micro/micro/s1/import-small"])
def test_a_model_written_back_computes_the_same(made, tmp_path, address):
    folder = exported(made, address, tmp_path / "back")
    sources, targets = pieces_in(made, split="dev")
    ours = negative_log_likelihoods(
        open_engine(model_of(made, address), "fairseq", device="cpu"), sources, targets
    )
    assert likelihoods_in_transformers(folder, sources, targets) == pytest.approx(ours, abs=1e-3)
    if address == PRUNED:
        zeros = load_file(folder / "model.safetensors")["model.shared.weight"] == 0
        mask = checkpoints.read_masks(made.model(PRUNED) / "mask.pt")["encoder.embed_tokens.weight"]
        assert int(zeros.sum()) == int((~mask[2:]).sum()) + int((~mask[1]).sum())


def test_their_tools_translate_what_was_written_back(made, tmp_path):
    import transformers

    folder = exported(made, RETRAINED, tmp_path / "back")
    tokeniser = transformers.MarianTokenizer.from_pretrained(folder)
    model = transformers.MarianMTModel.from_pretrained(folder)
    lines = read_lines(made / "results/data/micro/text/test.src")[:4]
    sources, _ = pieces_in(made)
    found = translate(
        open_engine(model_of(made, RETRAINED), "onnx"),
        sources[:4],
        Search(beam=1, max_len_a=0.0, max_len_b=12),
    )
    subwords = Subwords.load(made / "results/data/micro/given-opus")
    for line, ours in zip(lines, found, strict=True):
        inputs = tokeniser(line, return_tensors="pt")
        generated = model.generate(**inputs, num_beams=1, max_new_tokens=13, min_new_tokens=1)[0]
        assert tokeniser.decode(generated, skip_special_tokens=True) == subwords.decode(" ".join(ours))


def test_a_sliced_model_computes_the_same_in_every_engine_and_is_not_written_back(made, tmp_path):
    model = model_of(made, SLICED)
    widths = [len(model.weights.get(f"encoder.layers.{layer}.fc1.bias", ())) for layer in range(2)]
    assert 0 < sum(widths) < 2 * 48
    sources, targets = pieces_in(made, split="dev")
    expected, *others = (
        negative_log_likelihoods(open_engine(model, name, device="cpu"), sources, targets)
        for name in ("fairseq", "ctranslate2", "onnx")
    )
    assert all(found == pytest.approx(expected, abs=2e-3) for found in others)
    with pytest.raises(
        UserError, match=r"layer \d of the (en|de)coder has the widths .*ffn.*MarianMTModel has one"
    ):
        exported(made, SLICED, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("engine", ["ctranslate2", "onnx"])
def test_an_exported_folder_translates_text(made, tmp_path, engine):
    lines = read_lines(made / "results/data/micro/text/test.src")[:6]
    done = made.nmtprune("export", RETRAINED, str(tmp_path / "out"), "--engine", engine)
    assert done.returncode == 0, done.stderr
    translated = subprocess.run(
        [sys.executable, tmp_path / "out" / "translate"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    sources, _ = pieces_in(made)
    with made.inside():
        search = made.config.recipe("micro").decoding.search
    found = translate(open_engine(model_of(made, RETRAINED), engine), sources[:6], search)
    subwords = Subwords.load(made / "results/data/micro/given-opus")
    assert translated == [subwords.decode(" ".join(pieces)) if pieces else "" for pieces in found]


def test_a_trimmed_vocabulary_has_the_pieces_of_the_text_and_translates_alike(made):
    whole, trimmed = (model_of(made, f"micro/micro/s1/import-{name}") for name in ("opus", "small"))
    kept, all_pieces = set(trimmed.target_dictionary[4:]), set(whole.target_dictionary[4:])
    assert kept == used_pieces(made) & all_pieces and all_pieces - kept >= set(UNUSED)
    rows = [whole.target_dictionary.index(symbol) for symbol in trimmed.target_dictionary]
    for name in (
        "encoder.embed_tokens.weight",
        "decoder.output_projection.weight",
        "decoder.output_projection.bias",
    ):
        assert torch.equal(trimmed.weights[name], whole.weights[name][rows])
    sources, targets = pieces_in(made)
    assert pieces_in(made, "small") == [sources, targets]
    for engine in ("fairseq", "onnx"):
        translations = [
            translate(open_engine(each, engine, device="cpu"), sources, SEARCH) for each in (whole, trimmed)
        ]
        assert translations[0] == translations[1]
        likelihoods = [
            negative_log_likelihoods(open_engine(each, engine, device="cpu"), sources, targets)
            for each in (whole, trimmed)
        ]
        np.testing.assert_allclose(*likelihoods, atol=1e-4)


def test_what_did_not_begin_as_a_marian_model_is_not_written_as_one(studio, tmp_path):
    studio.make("micro/micro-student/s1/train-pretrain")
    with pytest.raises(UserError, match=r"cannot be written as a Marian model: it did not begin with one"):
        exported(studio, "micro/micro-student/s1/train-pretrain", tmp_path / "back")


def test_the_verb_writes_the_format_and_refuses_what_does_not_go_with_it(made, tmp_path):
    done = made.nmtprune("export", RETRAINED, str(tmp_path / "out"), "--format", "marian")
    assert done.returncode == 0 and (tmp_path / "out" / "model.safetensors").exists(), done.stderr
    for options, said in (
        (("--format", "marian", "--precision", "int8"), "--format marian has no --engine, --precision"),
        (("--format", "bart"), "unknown format `bart`"),
    ):
        done = made.nmtprune("export", RETRAINED, str(tmp_path / "other"), *options)
        assert done.returncode == 2 and said in done.stderr and not (tmp_path / "other").exists()


def test_the_manifest_names_what_was_imported(made):
    manifest = read_json(made.model("micro/micro/s1/import-opus") / paths.MANIFEST)
    assert manifest["imported_from"].endswith("opus/model.safetensors")
