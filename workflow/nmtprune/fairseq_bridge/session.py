"""A fairseq training session: task, model, criterion and Trainer, built from the settings of a recipe."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import numpy
import torch
from fairseq import options, tasks, utils
from fairseq.data.iterators import GroupedIterator  # noqa: F401 - for training/loop.py
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed
from fairseq.logging import metrics
from fairseq.trainer import Trainer as FairseqTrainer
from omegaconf import OmegaConf, open_dict
from torch import Tensor, nn

from nmtprune.experiment.schedule import Schedule
from nmtprune.fairseq_bridge import arguments, loss, lstm, precision, speedups, student  # noqa: F401  (loss and models register themselves)
from nmtprune.foundation.errors import UserError
from nmtprune.runtime import devices
from nmtprune.store.checkpoints import options_by_name

OUR_CRITERION = "nmtprune_label_smoothed_cross_entropy"
FAIRSEQ_INIT_SCALE = 0.1  # in fairseq.models.lstm
STOCK_CRITERION = "label_smoothed_cross_entropy"


class Trainer(FairseqTrainer):
    """The Trainer of fairseq, with steps that return sums over the batch instead of rounded averages.

    `configuration`: the result of `session.configuration`; `cfg`: the same, from the first update on as
    plain objects.

    With `autocast`, models and losses are computed in mixed precision: bfloat16 products of
    single-precision weights. Only forward passes run under autocast; backward passes follow them, and
    the optimiser sees single precision only.

    `updates_before`: updates of the weights in earlier trainings; the seeds of dropout continue from
    there.
    """

    updates_before = 0

    def __init__(self, cfg: Any, task: Any, model: Any, criterion: Any) -> None:
        super().__init__(cfg, task, model, criterion)
        self.configuration = cfg
        self.autocast = False
        plain_forward = criterion.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                return plain_forward(*args, **kwargs)

        criterion.forward = forward

    def keep_casts(self) -> torch.autocast:
        """Context in which each weight is cast to bfloat16 once, however often it is used.

        No weight may change before its last use. The context itself casts nothing: PyTorch keeps casts
        until the end of the outermost autocast context.
        """
        return torch.autocast(self.device.type, enabled=False)

    def train_step(self, samples: list[dict], raise_oom: bool = False) -> dict[str, Any] | None:
        """One update on the batches `samples`, as in fairseq.

        fairseq reads some forty settings in each update, and omegaconf takes 0.1 ms for each, so they
        are copied into plain objects.
        """
        if self.cfg is self.configuration:
            _ = self.lr_scheduler  # like the optimiser, it is built from omegaconf's objects
            self.cfg = _plain(OmegaConf.to_container(self.configuration, resolve=True))
        with self.keep_casts():
            return super().train_step(samples, raise_oom)

    def _set_seed(self) -> None:
        seed = self.cfg.common.seed + self.updates_before + self.get_num_updates()
        if self.cuda:
            utils.set_torch_seed(seed)
        else:  # seeding absent GPUs would format a stack trace in every update
            torch.default_generator.manual_seed(seed)

    def _reduce_and_log_stats(
        self, logging_outputs: list[dict], sample_size: Any, grad_norm: Any = None
    ) -> dict[str, Any]:
        return {key: sum(log[key] for log in logging_outputs) for key in ("loss", "nll_loss", "ntokens")}


def configuration(
    architecture: list[str],
    schedule: Schedule,
    data: list[str],
    seed: int,
    device: str,
    model: Any = None,
) -> Any:
    """The configuration of one training in fairseq's form.

    `data`: options for the data, and for the folder where fairseq writes files when a training breaks
    (`--save-dir`). `model`: the model's part of a checkpoint's configuration, in place of `architecture`.
    Raises UserError if the device or the precision is not available.
    """
    cuda = devices.torch_device(device) == "cuda"
    name = architecture_of(model) if model is not None else architecture[architecture.index("--arch") + 1]
    chosen = precision.decide(schedule.precision, "cuda" if cuda else "cpu", name)
    workers = world_size()
    argv = [
        *data,
        *architecture,
        *arguments.of_schedule(schedule.altered(accumulate=batches_of_a_worker(schedule))),
    ]
    argv += [
        "--criterion",
        OUR_CRITERION,
        "--seed",
        str(seed),
        "--num-workers",
        "0",
        "--data-buffer-size",
        "2",
    ]
    argv += ["--no-progress-bar", "--distributed-world-size", str(workers)]
    if chosen.used != "fp32" and not chosen.autocast:
        argv += [f"--{chosen.used}"]
    if not cuda:
        argv += ["--cpu"]
    if workers > 1:
        argv += ["--ddp-backend", "legacy_ddp", "--distributed-backend", "nccl" if cuda else "gloo"]
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=argv)
    cfg = convert_namespace_to_omegaconf(args)
    if model is not None:
        cfg = OmegaConf.create(cfg, flags={"allow_objects": True})
        with open_dict(cfg):
            cfg.model = model
    return cfg


def _plain(setting: Any) -> Any:
    """Mappings as namespaces, recursively."""
    return (
        Namespace(**{key: _plain(value) for key, value in setting.items()})
        if isinstance(setting, dict)
        else setting
    )


def architecture_of(model: Any) -> str:
    """The name of the architecture in the model's part of a configuration."""
    options = options_by_name(model)
    return options.get("arch") or options["_name"]


def world_size() -> int:
    """The number of workers of the training that this process belongs to."""
    return int(os.environ.get("WORLD_SIZE", 1))


def wait_for_all() -> None:
    """Return once all workers of the training have called this."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def batches_of_a_worker(schedule: Schedule) -> int:
    """The number of batches of an update for each worker.

    Raises UserError if the batches cannot be split evenly.
    """
    share, rest = divmod(schedule.accumulate, world_size())
    if rest:
        raise UserError(
            f"workers: {world_size()} cannot share out the {schedule.accumulate} batches of an update "
            "(`accumulate`) evenly"
        )
    return share


def start(cfg: Any, initialisation_seed: int, init_scale: float | None = None) -> Trainer:
    """Build task, model, criterion and Trainer; the first weights are drawn from `initialisation_seed`.

    `init_scale`: first weights are drawn between minus and plus this value. fairseq's LSTM draws them
    between -0.1 and 0.1 at any width, which is too little for a narrow one to learn well.
    """
    if cfg.distributed_training.distributed_world_size > 1 and not torch.distributed.is_initialized():
        if not cfg.common.cpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.infer_init_method(cfg.distributed_training)
        cfg.distributed_training.distributed_rank = distributed.distributed_init(cfg)
    speedups.apply()
    metrics.reset()
    task = tasks.setup_task(cfg.task)
    numpy.random.seed(initialisation_seed)
    utils.set_torch_seed(initialisation_seed)
    model = task.build_model(cfg.model)
    if init_scale is not None:
        with torch.no_grad():
            layers = (
                module for module in model.modules() if isinstance(module, (nn.LSTM, nn.LSTMCell, nn.Linear))
            )
            for weight in {id(weight): weight for layer in layers for weight in layer.parameters()}.values():
                weight.mul_(init_scale / FAIRSEQ_INIT_SCALE)
    return Trainer(cfg, task, model, task.build_criterion(cfg.criterion))


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """A copy of the model's state dict on the CPU in single precision; tied tensors stay tied."""
    copies: dict[int, Tensor] = {}
    by_name = {}
    for name, tensor in trainer.get_model().state_dict().items():
        key = tensor.data_ptr() if tensor.numel() else id(tensor)
        if key not in copies:
            copies[key] = tensor.detach().to(
                "cpu", torch.float32 if tensor.is_floating_point() else None, copy=True
            )
        by_name[name] = copies[key]
    return by_name


def checkpoint(cfg: Any, weights_by_name: Mapping[str, Tensor], updates: int) -> dict[str, Any]:
    """A checkpoint that fairseq's own tools open (generate, validate, train --finetune-from-model).

    Our loss is saved under the name of fairseq's, which it equals.
    """
    container: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    if container["criterion"]["_name"] == OUR_CRITERION:
        container["criterion"]["_name"] = STOCK_CRITERION
    return {
        "args": None,
        "cfg": container,
        "model": dict(weights_by_name),
        "criterion": None,
        "optimizer_history": [
            {
                "criterion_name": "LabelSmoothedCrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {},
                "num_updates": updates,
            }
        ],
        "task_state": {},
        "extra_state": {
            "train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True}
        },
        "last_optimizer_state": None,
    }


def load_weights(trainer: Trainer, weights_by_name: Mapping[str, Tensor]) -> None:
    """Replace the model's weights; raises UserError if the architectures differ."""
    try:
        trainer.get_model().load_state_dict(dict(weights_by_name), strict=True)
    except RuntimeError as error:
        raise UserError(
            f"the weights do not fit the recipe's architecture: {' '.join(str(error).split())[:300]}"
        ) from None


def optimizer_state(trainer: Trainer) -> dict[str, Any]:
    """The state of the optimiser for a resumed training.

    In half precision it includes the master weights and the loss scaler.
    """
    masters = getattr(trainer.optimizer, "fp32_params", None)
    scaler = getattr(trainer.optimizer, "scaler", None)
    return {
        "optimizer": trainer.optimizer.state_dict(),
        "masters": masters,
        "scaler": vars(scaler) if scaler else None,
    }


def load_optimizer_state(trainer: Trainer, state: Mapping[str, Any], updates: int) -> None:
    """Restore the state that `optimizer_state` returned.

    Raises UserError if one of the two trainings is in half precision on a GPU and the other is not.
    """
    if (state["masters"] is None) != (getattr(trainer.optimizer, "fp32_params", None) is None):
        raise UserError(
            "this training was interrupted on another device (cpu, cuda), and a training in half precision "
            "cannot change its device: continue it there, "
            "or remove the folder `state` of the model to start again"
        )
    trainer.optimizer.load_state_dict(state["optimizer"])
    if state["masters"] is not None:
        _copy(state["masters"], trainer.optimizer.fp32_params)
    if state.get("scaler"):
        vars(trainer.optimizer.scaler).update(state["scaler"])
    trainer.set_num_updates(updates)


def _copy(saved: Any, live: Any) -> None:
    match live:
        case dict():
            for key in live:
                _copy(saved[key], live[key])
        case list() | tuple():
            for old, new in zip(saved, live, strict=True):
                _copy(old, new)
        case _:
            live.data.copy_(saved.data)


def restart_optimizer(trainer: Trainer) -> None:
    """Continue with a fresh optimiser; in half precision, with master weights copied from the model."""
    trainer.cfg = trainer.configuration  # the new optimiser is built from it
    trainer._optimizer = trainer._lr_scheduler = None


def training_batches(trainer: Trainer, schedule: Schedule, updates_before: int) -> Any:
    """The iterator of fairseq over epochs of the training set, positioned after `updates_before` updates.

    The updates are those of this schedule.
    """
    if length := schedule.max_length:
        trainer.task.max_positions = lambda: (length, length)
    batches = trainer.get_train_iterator(epoch=1, load_dataset=True)
    vars(trainer.task).pop("max_positions", None)  # no line of the development set is left out
    share = batches_of_a_worker(schedule)
    epoch, update = divmod(updates_before, -(-len(batches) // share))
    batches.load_state_dict(
        {"version": 2, "epoch": epoch + 1, "iterations_in_epoch": update * share, "shuffle": True}
    )
    return batches


def longest_in_training(trainer: Trainer, schedule: Schedule) -> tuple[int, int]:
    """The most pieces of source and target in a training pair, end of sentence included.

    fairseq leaves out pairs with a longer side.
    """
    of_task = (schedule.max_length,) * 2 if schedule.max_length else trainer.task.max_positions()
    limits = zip(of_task, trainer.get_model().max_positions(), strict=True)
    source, target = (int(min(*limit, schedule.batch_tokens)) for limit in limits)
    return source, target


def load_development_set(trainer: Trainer) -> None:
    """Load the development set in a fixed order of batches.

    The order is independent of the seed, so that losses of parents and children are sums over the same
    batches.
    """
    trainer.task.load_dataset("valid", combine=False, epoch=1)
    dataset = trainer.task.dataset("valid")
    dataset.shuffle = False


def validation_nll(trainer: Trainer) -> tuple[float, float, int]:
    """Sums over the development set: loss and negative log-likelihood in nats, and number of target tokens.

    Tokens include the end of sentence.
    """
    model, criterion = trainer.model, trainer.criterion
    model.eval()
    criterion.eval()
    total = torch.zeros(3, dtype=torch.float64, device=trainer.device)
    with torch.no_grad(), trainer.keep_casts():
        for sample in trainer.get_valid_iterator("valid").next_epoch_itr(
            shuffle=False, set_dataset_epoch=False
        ):
            sample, is_dummy = trainer._prepare_sample(sample)
            if not is_dummy:
                _, _, log = trainer.task.valid_step(sample, model, criterion)
                total += torch.tensor(
                    [float(log[key]) for key in ("loss", "nll_loss", "ntokens")], dtype=torch.float64
                ).to(total)
    if trainer.data_parallel_world_size > 1:
        torch.distributed.all_reduce(total, group=trainer.data_parallel_process_group)
    return float(total[0]), float(total[1]), int(total[2])
