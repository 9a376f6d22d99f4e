"""What is used of fairseq beyond its documentation, and what fairseq asks of objects of ours."""

import pytest
from support.contract import broken, entries

from nmtprune.fairseq_bridge.packed import _EXTRAS
from nmtprune.store.fast_path import KEYS

CRITERION = "criterions/label_smoothed_cross_entropy.py LabelSmoothedCrossEntropyCriterion"
RELIED_UPON = {
    "fairseq_bridge/session.py": [
        "trainer.py Trainer.__init__(self, cfg, task, model, criterion)",
        "trainer.py Trainer.train_step(self, samples, raise_oom)",
        "trainer.py Trainer._prepare_sample(self, sample)",
        "trainer.py Trainer._set_seed(self)",
        "trainer.py Trainer._reduce_and_log_stats(self, logging_outputs, sample_size, grad_norm)",
        "trainer.py Trainer._optimizer",
        "trainer.py Trainer._lr_scheduler",
        "trainer.py Trainer.lr_scheduler",
        "trainer.py Trainer.optimizer",
        "trainer.py Trainer.cfg",
        "trainer.py Trainer.task",
        "trainer.py Trainer.cuda",
        "trainer.py Trainer.device",
        "trainer.py Trainer.model",
        "trainer.py Trainer.criterion",
        "trainer.py Trainer.data_parallel_world_size",
        "trainer.py Trainer.data_parallel_process_group",
        "trainer.py Trainer.get_model(self)",
        "trainer.py Trainer.set_num_updates(self, num_updates)",
        "trainer.py Trainer.get_train_iterator(self, epoch=, load_dataset=)",
        "trainer.py Trainer.get_valid_iterator(self, subset)",
        'trainer.py "self._optimizer is None"',  # and then builds another one: an optimiser is begun anew so
        "distributed/utils.py infer_init_method(cfg)",
        "distributed/utils.py distributed_init(cfg)",
        "optim/fp16_optimizer.py FP16Optimizer.fp32_params",
        "optim/fp16_optimizer.py FP16Optimizer.scaler",
        "tasks/fairseq_task.py FairseqTask.valid_step(self, sample, model, criterion)",
        "tasks/translation.py TranslationTask.max_positions(self)",
        "data/iterators.py EpochBatchIterator.load_state_dict(self, state_dict)",
        'data/iterators.py "iterations_in_epoch"',
        "data/iterators.py GroupedIterator.__init__(self, iterable, chunk_size)",
        "logging/metrics.py reset()",
        "utils.py set_torch_seed.__init__(self, seed)",
    ],
    "training/loop.py": [
        "trainer.py Trainer.begin_epoch(self, epoch)",
        "trainer.py Trainer.is_data_parallel_master",
        "trainer.py Trainer.get_num_updates(self)",
        "optim/fairseq_optimizer.py FairseqOptimizer.set_lr(self, lr)",
    ],
    "training/rounded.py": [
        "tasks/fairseq_task.py FairseqTask.optimizer_step(self, optimizer, model, update_num)"
    ],
    "planning/measuring.py": ["trainer.py Trainer._prepare_sample(self, sample)"],
    "fairseq_bridge/speedups.py": [
        "optim/adam.py Adam.step(self, closure)",
        'optim/adam.py "state["exp_avg_sq"]"',
        "optim/fairseq_optimizer.py FairseqOptimizer.params",
        "optim/fairseq_optimizer.py FairseqOptimizer.zero_grad(self)",
        "optim/fairseq_optimizer.py FairseqOptimizer.multiply_grads(self, c)",
        "optim/fairseq_optimizer.py FairseqOptimizer.clip_grad_norm(self, max_norm, aggregate_norm_fn)",
        "utils.py clip_grad_norm_(params, max_norm, aggregate_norm_fn)",
        "utils.py softmax(x, dim, onnx_trace)",
        'modules/multihead_attention.py "utils.softmax("',
        "modules/multihead_attention.py MultiheadAttention.skip_embed_dim_check",
        "modules/fairseq_dropout.py FairseqDropout.forward(self, x, inplace)",
        "data/language_pair_dataset.py LanguagePairDataset.collater(self, samples, pad_to_length)",
        "data/language_pair_dataset.py LanguagePairDataset.src_sizes",
        "data/language_pair_dataset.py LanguagePairDataset.tgt_sizes",
        "models/fairseq_model.py BaseFairseqModel.set_num_updates(self, num_updates)",
    ],
    "fairseq_bridge/dropout.py": [
        "modules/fairseq_dropout.py FairseqDropout.p",
        "modules/fairseq_dropout.py FairseqDropout.apply_during_inference",
    ],
    "fairseq_bridge/shim.py": [
        "checkpoint_utils.py torch",
        'checkpoint_utils.py "torch.load("',
        'utils.py "eval("',
        "modules/transformer_layer.py TransformerEncoderLayerBase.can_use_fastpath",
        "modules/transformer_layer.py TransformerEncoderLayerBase.BT_version",
        "modules/transformer_layer.py TransformerEncoderLayerBase._load_from_state_dict",
    ],
    "store/fast_path.py": [
        f"modules/transformer_layer.py TransformerEncoderLayerBase.{name}" for name in KEYS
    ],
    "fairseq_bridge/imports.py": [
        "checkpoint_utils.py _upgrade_state_dict(state)",
        "dataclass/configs.py FairseqDataclass._name",
        "models/__init__.py ARCH_MODEL_REGISTRY",
        "models/__init__.py MODEL_REGISTRY",
    ],
    "fairseq_bridge/checkpoint_classes.py": ["logging/meters.py MetersDict", "logging/meters.py Meter"],
    "fairseq_bridge/binarise.py": [
        "data/indexed_dataset.py MMapIndexedDataset._bin_buffer",
        "data/indexed_dataset.py MMapIndexedDataset._index",
        "data/indexed_dataset.py MMapIndexedDataset.Index.dtype",
        "data/indexed_dataset.py MMapIndexedDataset.sizes",
        "data/indexed_dataset.py make_builder(out_file, impl, vocab_size=)",
        "data/dictionary.py Dictionary.symbols",
        "data/dictionary.py Dictionary.count",
        "data/dictionary.py Dictionary.indices",
        "data/dictionary.py Dictionary.nspecial",
        "data/dictionary.py Dictionary.finalize(self, nwords=, padding_factor=)",
    ],
    "fairseq_bridge/generation.py": [
        "data/language_pair_dataset.py collate(samples, pad_idx, eos_idx, left_pad_source=, "
        "left_pad_target=)",
        "sequence_generator.py SequenceGenerator.__init__(self, models, tgt_dict, beam_size=, max_len_a=, "
        "max_len_b=, len_penalty=)",
        "sequence_generator.py SequenceGenerator.generate(self, models, sample)",
    ],
    "fairseq_bridge/loss.py": [
        f"{CRITERION}.compute_loss(self, model, net_output, sample, reduce)",
        f"{CRITERION}.eps",
        "criterions/fairseq_criterion.py FairseqCriterion.padding_idx",
        "distributed/legacy_distributed_data_parallel.py LegacyDistributedDataParallel.module",
        "distributed/module_proxy_wrapper.py ModuleProxyWrapper.module",
    ],
    "fairseq_bridge/packed.py": [
        *(
            f"models/transformer/transformer_encoder.py TransformerEncoderBase.{name}"
            for name in ("embed_scale", "layer_norm", "layers")
        ),
        *(
            f"models/transformer/transformer_decoder.py TransformerDecoderBase.{name}"
            for name in ("embed_scale", "layer_norm", "layers")
        ),
        *(
            f"modules/transformer_layer.py TransformerDecoderLayerBase.{name}"
            for name in ("self_attn", "encoder_attn", "normalize_before")
        ),
        *(
            f"modules/multihead_attention.py MultiheadAttention.{name}"
            for name in ("q_proj", "k_proj", "v_proj", "out_proj", "num_heads")
        ),
    ],
    "fairseq_bridge/student.py": [
        "models/transformer/transformer_base.py TransformerModelBase.build_model(cls, cfg, task)",
        "models/transformer/transformer_base.py TransformerModelBase.build_encoder(cls, cfg, src_dict, "
        "embed_tokens)",
        "models/transformer/transformer_base.py TransformerModelBase.build_decoder(cls, cfg, tgt_dict, "
        "embed_tokens)",
        "models/transformer/transformer_encoder.py TransformerEncoderBase.build_encoder_layer(self, cfg)",
        'models/transformer/transformer_encoder.py "layer.load_to_BT"',
        'models/transformer/transformer_encoder.py ".upgrade_state_dict_named("',
        "models/transformer/transformer_decoder.py TransformerDecoderBase.build_decoder_layer(self, cfg, "
        "no_encoder_attn)",
        "models/transformer/transformer_config.py TransformerConfig.from_namespace(cls, args)",
        "incremental_decoding_utils.py FairseqIncrementalState.get_incremental_state(self, "
        "incremental_state, key)",
        "incremental_decoding_utils.py FairseqIncrementalState.set_incremental_state(self, "
        "incremental_state, key, value)",
        'models/fairseq_incremental_decoder.py "set_beam_size"',
        'models/fairseq_incremental_decoder.py "reorder_incremental_state"',
    ],
    "fairseq_bridge/sublayers.py": [
        *(
            f"modules/transformer_layer.py TransformerDecoderLayerBase.{name}"
            for name in ("fc1", "fc2", "final_layer_norm")
        ),
        *(
            f"modules/transformer_layer.py TransformerDecoderLayerBase.{name}_layer_norm"
            for name in ("self_attn", "encoder_attn")
        ),
        "modules/transformer_layer.py TransformerDecoderLayerBase.activation_fn",
    ],
}


@pytest.mark.parametrize(("ours", "entry"), entries(RELIED_UPON))
def test_fairseq_has_what_is_used_of_it(ours, entry):
    assert (reason := broken("fairseq", ours, entry)) is None, reason


@pytest.mark.parametrize("part", _EXTRAS)
def test_a_part_that_packed_does_not_compute_is_still_called_so(part):
    """`packed` would take a renamed part for an absent one, and leave it out of the forward pass."""
    files = ("models/transformer/transformer_encoder.py", "models/transformer/transformer_decoder.py")
    files += ("modules/transformer_layer.py", "modules/multihead_attention.py")
    reasons = [broken("fairseq", "fairseq_bridge/packed.py", f'{file} "self.{part}"') for file in files]
    assert None in reasons, reasons[0]
