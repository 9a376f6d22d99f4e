"""The LSTM of See et al. 2016: its sizes, exactness with padding and in steps, and fairseq's own tools."""

import itertools
import shutil
import sys

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import pytest
import torch
import yaml
from fairseq import options
from fairseq.models import build_model
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from support.workplace import MICRO, REPOSITORY

from nmtprune.experiment import config, slices
from nmtprune.experiment.architecture import Architecture
from nmtprune.experiment.search import Search
from nmtprune.fairseq_bridge import arguments, generation
from nmtprune.fairseq_bridge.loss import label_smoothed_cross_entropy
from nmtprune.fairseq_bridge.recurrence import SEGMENT, StackedLstm, segments_of
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.classes import class_of, classes
from nmtprune.store import checkpoints
from nmtprune.store.model import PADDING, SPECIAL_SYMBOLS, Model, read_dictionary
from nmtprune.translation.batching import negative_log_likelihoods, translate

SYMBOLS = [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(20))]
SMALL = {
    "name": "nmtprune_lstm",
    "encoder_layers": 2,
    "decoder_layers": 2,
    "embed_dim": 12,
    "dropout": 0.0,
    "init_scale": 0.5,
}
VARIANTS = {
    "dot": {},
    "none": {"attention": "none"},
    "tied": {"share_embeddings": "all"},
    "half tied": {"share_embeddings": "target"},
}
LINES = [[f"w{(7 * line + 3 * at) % 20}" for at in range(1 + line % 5)] for line in range(20)]


def build(architecture, symbols=SYMBOLS):
    """The module, its weights drawn from seed 1."""
    torch.manual_seed(1)
    parsed = options.parse_args_and_arch(
        options.get_training_parser(),
        input_args=[
            "data",
            "--task",
            "translation",
            *arguments.of_architecture(Architecture.over(architecture)),
        ],
    )
    dictionary = generation.as_dictionary(symbols)
    return build_model(parsed, TranslationTask(TranslationConfig(), dictionary, dictionary)).eval()


def engine_of(module):
    """fairseq's engine over a module as it is."""
    cfg = {"_name": "nmtprune_lstm"}
    layers = module.encoder.lstm.num_layers
    cfg |= {"embed_dim": module.encoder.lstm.input_size, "encoder_layers": layers, "decoder_layers": layers}
    cfg |= {"attention": "none" if module.decoder.attention is None else "dot"}
    tied = module.decoder.output_projection.weight is module.decoder.embed_tokens.weight
    cfg |= {"share_decoder_input_output_embed": tied, "share_all_embeddings": False}
    return generation.FairseqEngine(Model(module.state_dict(), cfg, SYMBOLS, SYMBOLS), "cpu")


def sources(lengths):
    """Sentences of these lengths in one batch, padded on the left, with their end of sentence."""
    torch.manual_seed(2)
    batch = torch.full((len(lengths), max(lengths) + 1), PADDING)
    for line, length in enumerate(lengths):
        batch[line, -length - 1 : -1] = torch.randint(len(SPECIAL_SYMBOLS), len(SYMBOLS), (length,))
    batch[:, -1] = 2
    return batch


def test_the_papers_model_has_the_papers_classes():
    """Figure 4: eight classes of 8M, attention of 2M, three of 50M. Nothing else has parameters."""
    recipe = config.from_settings({}).recipe("lstm")
    symbols = [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(50_000 - len(SPECIAL_SYMBOLS)))]
    with torch.device("meta"):
        parameters = dict(build(recipe.architecture.said, symbols).named_parameters())
    sizes = dict.fromkeys(classes(parameters), 0)
    for name, parameter in parameters.items():
        sizes[class_of(name)] += parameter.numel()
    layers = {f"{side} layer {number}": 8_000_000 for side in ("source", "target") for number in (1, 2, 3, 4)}
    tables = dict.fromkeys(("softmax", "source embedding", "target embedding"), 50_000_000)
    assert list(sizes.items()) == list({**layers, "attention": 2_000_000, **tables}.items())


@pytest.mark.parametrize(
    ("recipe", "types", "millions"),
    [("lstm-small", 10_000, 23.0), ("rnnsearch", 41_980, 197.0), ("lightconv", 41_980, 304.3)],
)
def test_the_sizes_of_the_other_recipes_at_the_papers_scale(recipe, types, millions):
    """Section 5's small model has about 11 % of 216M; the others as Wang et al. 2020 count them (table 4)."""
    architecture = config.from_settings({}).recipe(recipe).architecture
    with torch.device("meta"):
        module = build(
            architecture.said,
            [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(types - len(SPECIAL_SYMBOLS)))],
        )
    assert sum(parameter.numel() for parameter in module.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.05
    )


def test_first_weights_are_uniform_and_padding_is_zero():
    module = build(SMALL | {"init_scale": 0.25})
    for name, parameter in module.named_parameters():
        assert 0.2 < parameter.abs().max() <= 0.25, name
    assert not module.encoder.embed_tokens.weight[PADDING].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_step_by_step_is_the_whole_at_once(variant):
    module = build(SMALL | VARIANTS[variant])
    encoded = module.encoder(sources([3, 5, 1]))
    targets = torch.cat([torch.full((3, 1), 2), torch.randint(4, len(SYMBOLS), (3, 6))], dim=1)
    whole, extra = module.decoder(targets, encoded)
    state = {}
    for step in range(targets.shape[1]):
        logits, now = module.decoder(targets[:, : step + 1], encoded, incremental_state=state)
        torch.testing.assert_close(logits[:, 0], whole[:, step], atol=1e-5, rtol=0)
        if variant != "none":
            torch.testing.assert_close(now["attn"][0][:, 0], extra["attn"][0][:, step], atol=1e-5, rtol=0)
        if step == 2:  # as beam search does: one sentence twice, one dropped
            order = torch.tensor([2, 0, 2])
            module.decoder.reorder_incremental_state_scripting(state, order)
            encoded = module.encoder.reorder_encoder_out(encoded, order)
            targets, whole = targets[order], whole[order]
            extra = {"attn": [extra["attn"][0][order]]} if variant != "none" else extra


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing(variant):
    module = build(SMALL | VARIANTS[variant])
    with torch.no_grad():
        module.decoder.embed_tokens.weight[PADDING] = 0.3  # as training leaves it where it is tied
    batch = sources([3, 6, 1])
    encoded = module.encoder(batch)
    padded = encoded["encoder_padding_mask"][0]
    assert not encoded["encoder_out"][0][padded].any()
    target = torch.full((3, 1), 2)
    logits, extra = module.decoder(target, encoded)
    for line in range(3):
        alone, own = module.decoder(target[:1], module.encoder(batch[line : line + 1, padded[line].sum() :]))
        torch.testing.assert_close(logits[line], alone[0], atol=1e-6, rtol=0)
        if variant != "none":
            attention = extra["attn"][0][line, 0]
            assert not attention[padded[line]].any()
            torch.testing.assert_close(attention[~padded[line]], own["attn"][0][0, 0], atol=1e-6, rtol=0)


def test_scores_and_hypotheses_do_not_depend_on_the_batch():
    engine = engine_of(build(SMALL))
    together = negative_log_likelihoods(engine, LINES, LINES)
    alone = [negative_log_likelihoods(engine, [line], [line])[0] for line in LINES]
    assert together == pytest.approx(alone, abs=1e-4)
    search = Search(beam=3, max_len_b=8)
    assert translate(engine, LINES, search) == [translate(engine, [line], search)[0] for line in LINES]


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns_twenty_sentences_by_heart(variant):
    module = build(SMALL | {"embed_dim": 32, "init_scale": 0.3} | VARIANTS[variant]).train()
    batch = engine_of(module)._batch(LINES, [line[::-1] for line in LINES])
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(100):
        logits, _ = module(**batch["net_input"])
        loss, nll = label_smoothed_cross_entropy(
            logits.view(-1, len(SYMBOLS)), batch["target"].view(-1), 0.0, PADDING
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(nll) / batch["ntokens"] < 0.1
    assert translate(engine_of(module), LINES, Search(beam=2, max_len_b=8)) == [line[::-1] for line in LINES]


def test_the_gradient_is_that_of_plain_cross_entropy():
    """The loss overwrites the logits: nothing in the model may need them afterwards."""
    module = build(SMALL).train()
    batch = engine_of(module)._batch(LINES, LINES)
    found = []
    for in_place in (True, False):
        module.zero_grad()
        logits, target = module(**batch["net_input"])[0].view(-1, len(SYMBOLS)), batch["target"].view(-1)
        if in_place:
            label_smoothed_cross_entropy(logits, target, 0.0, PADDING)[0].backward()
        else:
            torch.nn.functional.cross_entropy(
                logits, target, ignore_index=PADDING, reduction="sum"
            ).backward()
        found.append([parameter.grad.clone() for parameter in module.parameters()])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_dropout_leaves_recurrent_connections_alone():
    """Where all that goes from layer to layer is dropped, each layer still follows from its own state."""
    module = build(SMALL | {"dropout": 0.999999}).train()
    lstm, state, nothing = module.decoder.lstm, torch.ones(2, 3, 12), torch.zeros(3, 4, 12)
    _, (dropped, _) = lstm(nothing, (state, state))
    lstm.eval()
    _, (kept, _) = lstm(nothing, (state, state))
    torch.testing.assert_close(dropped[0], kept[0])
    assert not torch.allclose(dropped[1], kept[1], atol=1e-3)
    torch.nn.init.zeros_(lstm.weight_ih_l1)
    torch.testing.assert_close(dropped[1], lstm(nothing, (state, state))[1][0][1])


def stacked(width=24, layers=3, dropout=0.0, dtype=torch.float64):
    """Our layers in training, and PyTorch's with the same weights."""
    torch.manual_seed(3)
    ours = StackedLstm(width, layers, dropout).to(dtype)
    plain = torch.nn.LSTM(width, width, layers, bias=False, batch_first=True, dropout=dropout).to(dtype)
    plain.load_state_dict(ours.state_dict())
    return ours.train(), plain.train()


def test_parameters_and_first_weights_are_those_of_pytorchs_lstm():
    weights = []
    for build_layers in (lambda: StackedLstm(8, 2, 0.1), lambda: torch.nn.LSTM(8, 8, 2, bias=False)):
        torch.manual_seed(5)
        weights.append(build_layers().state_dict())
    assert list(weights[0]) == list(weights[1])
    assert all(
        torch.equal(ours, plain) for ours, plain in zip(*(each.values() for each in weights), strict=True)
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_layers_and_their_gradients_are_those_of_pytorchs_lstm(dtype, tolerance):
    """Whole, and without padding: then at the positions of each sentence, whatever is at the others."""
    ours, plain = stacked(dtype=dtype)
    lengths = torch.tensor([4, 60, 1, 7, 33, 60, 2, 8, *range(9, 30), *[3] * 20])
    real = torch.arange(60) < lengths.unsqueeze(1)
    assert len(list(segments_of(lengths.sort(descending=True)[0].tolist()))) > 2
    inputs, weight = torch.randn(2, len(lengths), 60, 24, dtype=dtype)
    before = torch.randn(2, 3, len(lengths), 24, dtype=dtype)
    results = []
    for layers, read in ((plain, plain), (ours, ours), (ours, None)):
        layers.zero_grad()
        given = [tensor.clone().requires_grad_() for tensor in (inputs, *before)]
        if read:
            states, final = read(given[0], tuple(given[1:]))
            torch.testing.assert_close(final[1], plain(inputs, tuple(before))[1][1], atol=tolerance, rtol=0)
        else:
            states = layers.without_padding(given[0], tuple(given[1:]), lengths)
        (states * weight)[real].sum().backward()
        results.append([states[real], *(leaf.grad for leaf in (*given, *layers.parameters()))])
    for expected, *others in zip(*results, strict=True):
        for other in others:
            torch.testing.assert_close(other, expected, atol=tolerance * float(expected.abs().max()), rtol=0)


def test_segments_are_the_cheapest():
    """Against all ways to cut ten steps."""
    lengths = [10, 10, *[9] * 60, 6, *[4] * 50, 3, *[2] * 150, 1]
    reading = [sum(length > step for length in lengths) for step in range(10)]

    def cost(cuts):
        return sum(
            reading[start] * (stop - start) + SEGMENT for start, stop in itertools.pairwise((0, *cuts, 10))
        )

    segments = list(segments_of(lengths))
    cuts = [start for start, _, _ in segments[1:]]
    assert [(start, stop) for start, stop, _ in segments] == list(itertools.pairwise((0, *cuts, 10)))
    assert [size for _, _, size in segments] == [reading[start] for start, _, _ in segments]
    every = itertools.chain.from_iterable(itertools.combinations(range(1, 10), count) for count in range(10))
    assert 0 < len(cuts) < 9
    assert cost(cuts) == min(map(cost, every))


def test_dropout_between_layers_drops_its_share_and_keeps_the_mean():
    """The input of a layer is read off with an identity weight into one gate and no recurrence."""
    ours, _ = stacked(width=400, layers=2, dropout=0.2)
    for name, weight in ours.named_parameters():
        torch.nn.init.zeros_(weight)
        if name.startswith("weight_ih"):
            with torch.no_grad():
                weight[800:1200] = torch.eye(400)  # the candidate cell; every gate is half open
    inputs = torch.ones(20, 1, 400, dtype=torch.float64)
    first = torch.tanh(torch.tanh(torch.tensor(1.0, dtype=torch.float64)) / 2) / 2
    second = torch.tanh(torch.tanh(first / 0.8) / 2) / 2
    states, (hidden, _) = ours(inputs)
    torch.testing.assert_close(hidden[0], first.expand_as(hidden[0]))
    dropped = states == 0
    torch.testing.assert_close(states[~dropped], second.expand_as(states[~dropped]))
    assert 0.18 < dropped.double().mean() < 0.22


def own_recipe(tmp_path, **change):
    (tmp_path / "recipes").mkdir()
    shutil.copy(MICRO / "recipes" / "micro.yaml", tmp_path / "recipes")
    base = {"title": "Mine", "extends": "micro", "architecture": {**SMALL, "share_embeddings": "none"}}
    (tmp_path / "recipes" / "mine.yaml").write_text(yaml.safe_dump(base | change))
    return config.from_settings({"own": str(tmp_path)})


def test_an_architecture_of_another_name_inherits_nothing(tmp_path):
    assert own_recipe(tmp_path).recipe("mine").architecture.said == SMALL | {"share_embeddings": "none"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"architecture": {**SMALL, "decoder_layers": 3}},
            "encoder_layers 2 and decoder_layers 3 must be equal",
        ),
        (
            {"architecture": {**SMALL, "attention": "none"}, "decoding": {"replace_unknowns": True}},
            "replace_unknowns needs attention, and architecture.attention says none",
        ),
        ({"architecture": {**SMALL, "attention": "general"}}, '"general" is not one of dot, none'),
    ],
)
def test_mistakes_in_a_recipe(tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        own_recipe(tmp_path, **change).recipe("mine")


def test_layers_must_be_as_many_on_both_sides():
    with pytest.raises(UserError, match="decoder_layers: 3 is not encoder_layers"):
        build(SMALL | {"decoder_layers": 3})


def test_batches_have_at_most_so_many_sentences(studio):
    from nmtprune.experiment import chain, paths
    from nmtprune.fairseq_bridge import session

    with studio.inside():
        run, parsed = studio.config, chain.parse("micro/micro-lstm/s1/train")
        schedule = run.schedule("micro-lstm", "train")
        data = arguments.of_data(paths.binarised(run.data_folder(parsed)), "src", "tgt")
        trainer = session.start(
            session.configuration(
                arguments.of_architecture(Architecture.over(SMALL)), schedule, data, 1, "cpu"
            ),
            1,
        )
        batches = trainer.get_train_iterator(epoch=1, load_dataset=True).next_epoch_itr(shuffle=False)
        sizes = [batch["nsentences"] for batch in batches]
    assert schedule.batch_sentences == max(sizes) == 16
    assert "batch_sentences" not in slices.of_step(run, chain.parse("micro/micro/s1/train"))["schedule"]


def test_fairseq_generate_opens_a_checkpoint(studio):
    """Its own command-line tool, told where our models are; it writes the hypotheses that we write."""
    folder = studio.make("micro/micro-lstm/s1/train")
    data = next((studio / "results/data/micro").glob("sentencepiece*"))
    plugin = REPOSITORY / "workflow" / "nmtprune" / "fairseq_bridge" / "nmtprune_plugin"
    tool = "import nmtprune.fairseq_bridge.shim; from fairseq_cli.generate import cli_main; cli_main()"
    where = [
        str(data / "bin"),
        "--path",
        str(folder / "model.pt"),
        "--user-dir",
        str(plugin),
        "--cpu",
        "--gen-subset",
        "test",
    ]
    how = ["--beam", "2", "--max-len-a", "0", "--max-len-b", "20"]
    done = studio.run(sys.executable, "-c", tool, *where, *how)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.startswith(("S-", "H-"))]
    said = {line[0]: line[-1].split() for line in lines}
    numbers = [name[2:] for name in said if name.startswith("S-")]
    assert len(numbers) == 40

    checkpoint = checkpoints.read(folder / "model.pt")
    symbols = [read_dictionary(data / "bin" / f"dict.{language}.txt") for language in ("src", "tgt")]
    engine = generation.FairseqEngine(
        Model(checkpoint["model"], dict(checkpoint["cfg"]["model"]), *symbols), "cpu"
    )
    ours = engine.translate([said[f"S-{number}"] for number in numbers], Search(beam=2), 20)
    assert ours == [said[f"H-{number}"] for number in numbers]
