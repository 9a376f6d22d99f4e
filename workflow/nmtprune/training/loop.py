"""The training loop over fairseq's Trainer: learning rates, treatments, validation, selection and resumption.

fairseq's own loop keeps its patience counter and best score in memory only, and cannot let the parent
compete at update 0. Everything that decides here is in `Progress`, which is saved with the weights.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from nmtprune.experiment import paths
from nmtprune.experiment.schedule import Schedule, update_at
from nmtprune.fairseq_bridge import precision, session
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_json
from nmtprune.foundation.known import known
from nmtprune.store import checkpoints
from nmtprune.store.state import outputs_of, this_machine
from nmtprune.training.average import Average
from nmtprune.training.events import Events
from nmtprune.training.treatment import Treatment

NOTHING_YET = {"loss": 0.0, "nll_loss": 0.0, "ntokens": 0, "seconds": 0.0}
LARGEST_EXPONENT = 700.0  # e to this power is still finite in double precision
SECONDS_BETWEEN_SAVES = 300
SECONDS_BETWEEN_REPORTS = 5


@dataclass
class Progress:
    """What a training has decided so far.

    It is saved with the weights, so that a resumed training decides the same. `precisions`: the
    precisions of the training so far, each with the number of updates before it.
    """

    update: int = 0
    best: float | None = None
    selected_update: int = 0
    without_improvement: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    precisions: list[tuple[int, str]] = field(default_factory=list)

    @property
    def precision(self) -> str:
        """The precision as text: `bf16`, or `bf16, fp32 from update 401` if it changed."""
        (_, first), *later = self.precisions
        return ", ".join([first, *(f"{used} from update {updates + 1}" for updates, used in later)])


@dataclass(frozen=True)
class Selection:
    """How a training selects its checkpoint: whether the parent competes, and how BLEU is measured.

    `development_bleu`: a function from weights to BLEU, needed if the schedule selects by BLEU.
    """

    parent_competes: bool
    development_bleu: Callable[[Mapping[str, Tensor]], float] | None = None


class Training:
    """One training step; `run` returns when `state/` holds the selected and last checkpoints and the history.

    The order of batches and dropout continue from the trainer's `updates_before`.
    """

    def __init__(
        self,
        trainer: session.Trainer,
        schedule: Schedule,
        state: Path,
        treatments: Sequence[Treatment],
        selection: Selection,
        events: Events | None = None,
    ) -> None:
        self.trainer, self.schedule, self.state = trainer, schedule, state
        self.treatments, self.selection, self.events = treatments, selection, events
        self.precision = precision.decide(
            schedule.precision, trainer.device.type, session.architecture_of(trainer.configuration.model)
        )
        self.average: Average | None = None
        self.progress = Progress()
        self.master = trainer.is_data_parallel_master
        self.snapshots = {update_at(p, schedule.updates): f"{p:g}" for p in schedule.snapshots}
        self._clock = self._reported = self._saved = time.monotonic()
        self._since_validation = dict(NOTHING_YET)

    def run(self) -> Progress:
        """Train until the schedule ends or its patience is exhausted.

        An interrupted training is resumed. Raises UserError where training diverges.
        """
        trainer, progress, updates = self.trainer, self.progress, self.schedule.updates
        for treatment in self.treatments:
            treatment.begin(trainer)
        batches = session.training_batches(trainer, self.schedule, trainer.updates_before)
        session.load_development_set(trainer)
        self._begin_average()
        self._resume(batches)
        self._settle_precision()
        if progress.update == 0 and self.selection.parent_competes:
            self._validate(batches.epoch)
        while progress.update < updates and not progress.stopped_early:
            groups = session.GroupedIterator(
                batches.next_epoch_itr(shuffle=True), session.batches_of_a_worker(self.schedule)
            )
            trainer.begin_epoch(batches.epoch)
            for samples in groups:
                if not self._update(samples, batches.epoch):
                    continue
                self._follow(batches)
                if progress.update >= updates or progress.stopped_early:
                    break
        self._write(outputs_of(self.state) / paths.LAST)
        return progress

    def _follow(self, batches: Any) -> None:
        """Do what the schedule asks for after an update: keep a snapshot, validate, reset, save."""
        update = self.progress.update
        if update in self.snapshots:
            with self._averaged():
                self._write(paths.snapshot(outputs_of(self.state), self.snapshots[update]))
        resets = update in self.schedule.reset_after
        last = update == self.schedule.updates
        validated = resets or last or self._since_reset() % self.schedule.validate_every == 0
        if validated:
            self._validate(batches.epoch)
        if resets:
            self._reset()
        if validated or time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
            self._save(batches)

    def _update(self, samples: list, epoch: int) -> bool:
        """Make one update; return False if half precision overflowed and fairseq lowered its loss scale.

        fairseq then takes the next batch. Raises UserError where training diverges.
        """
        trainer, progress = self.trainer, self.progress
        trainer.optimizer.set_lr(self.schedule.learning_rate.at(progress.update + 1))
        for treatment in self.treatments:
            treatment.before_update(progress.update + 1)
        try:
            log = trainer.train_step(samples)
        except FloatingPointError as error:
            raise UserError(
                f"training diverged at update {progress.update + 1} ({error}): lower the schedule's "
                "learning_rate"
            ) from None
        for treatment in self.treatments:
            treatment.after_update()
        if trainer.get_num_updates() == progress.update:
            return False
        progress.update = trainer.get_num_updates()
        if self.average:
            self.average.update()
        self._count(known(log))
        if self.master and time.monotonic() - self._reported > SECONDS_BETWEEN_REPORTS:
            self._report(epoch)
        return True

    def _count(self, log: Mapping[str, Any]) -> None:
        now = time.monotonic()
        seconds, self._clock = now - self._clock, now
        self.progress.seconds += seconds
        sums = self._since_validation
        sums["seconds"] += seconds
        for key in ("loss", "nll_loss", "ntokens"):
            sums[key] = sums[key] + log[key]

    def _begin_average(self) -> None:
        """Start to average the weights if the schedule asks for it."""
        if rate := self.schedule.exponential_moving_average:
            self.average = Average(self.trainer.get_model().named_parameters(), rate)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Context in which the model has its averaged weights, if an average is kept."""
        with self.average.in_place() if self.average else contextlib.nullcontext():
            yield

    def _since_reset(self) -> int:
        """Number of updates since the optimiser was last fresh."""
        return self.progress.update - max(
            (each for each in self.schedule.reset_after if each < self.progress.update), default=0
        )

    def _reset(self) -> None:
        """Continue as a next step would: from the selected checkpoint, with a fresh optimiser."""
        session.wait_for_all()  # until the first worker has written the checkpoint
        session.load_weights(self.trainer, checkpoints.read(outputs_of(self.state) / paths.MODEL)["model"])
        session.restart_optimizer(self.trainer)
        self._begin_average()

    def _validate(self, epoch: int) -> None:
        columns = {
            name: value for treatment in self.treatments for name, value in treatment.history().items()
        }
        with self._averaged():
            self._validate_and_select(epoch, columns)

    def _validate_and_select(self, epoch: int, columns: Mapping[str, Any]) -> None:
        """Validate, add a row to the history, and select; `columns`: the row's values from the treatments.

        Treatments compute these columns from the model's own weights, not from their average.
        """
        progress, sums = self.progress, self._since_validation
        trained = int(sums["ntokens"])
        for treatment in self.treatments:
            treatment.before_validation()
        loss, nll, tokens = session.validation_nll(self.trainer)
        row = {
            "update": progress.update,
            "epoch": epoch,
            "learning_rate": self.schedule.learning_rate.at(max(progress.update, 1)),
            "precision": progress.precisions[-1][1],
            "train_loss": float(sums["loss"]) / trained if trained else None,
            "train_nll": float(sums["nll_loss"]) / trained if trained else None,
            "dev_loss": loss / tokens,
            "dev_nll": nll / tokens,
            "dev_perplexity": math.exp(nll / tokens) if nll / tokens < LARGEST_EXPONENT else math.inf,
            "dev_bleu": None,
            "sparsity": None,
            "target_words_per_second": trained / sums["seconds"] if trained else None,
        }
        if self.schedule.select == "bleu":
            row["dev_bleu"] = known(self.selection.development_bleu)(session.weights(self.trainer))
        for treatment in self.treatments:
            treatment.after_validation()
        row |= columns
        self._select(row)
        row["seconds"] = round(progress.seconds, 3)
        progress.history.append(row)
        self._show()
        self._since_validation = dict(NOTHING_YET)
        self._clock = time.monotonic()
        if self.master:
            print(
                f"update {row['update']}: dev perplexity {row['dev_perplexity']:.3f}, selected update "
                f"{progress.selected_update}",
                flush=True,
            )

    def _select(self, row: Mapping[str, Any]) -> None:
        progress, select = self.progress, self.schedule.select
        score = {"nll": -row["dev_nll"], "bleu": row["dev_bleu"], "last": float(row["update"])}[select]
        if progress.best is None or score > progress.best or math.isnan(progress.best):
            progress.best, progress.selected_update, progress.without_improvement = score, row["update"], 0
            self._write(outputs_of(self.state) / paths.MODEL)
            return
        progress.without_improvement += 1
        patience = self.schedule.patience
        progress.stopped_early = patience is not None and progress.without_improvement >= patience

    def _show(self) -> None:
        if self.events and self.master and self.progress.history:
            norms = {
                name: values for treatment in self.treatments for name, values in treatment.norms().items()
            }
            self.events.write(self.progress.history, norms)

    def _write(self, path: Path) -> None:
        if self.master:
            checkpoints.save(
                session.checkpoint(
                    self.trainer.configuration, session.weights(self.trainer), self.progress.update
                ),
                path,
            )

    def _save(self, batches: Any) -> None:
        if self.master:
            checkpoints.save(
                {
                    "model": self.trainer.get_model().state_dict(),
                    "optimizer": session.optimizer_state(self.trainer),
                    "average": self.average and self.average.state(),
                    "batches": batches.state_dict(),
                    "workers": session.world_size(),
                    "progress": asdict(self.progress),
                    "since_validation": self._since_validation,
                    "treatments": [treatment.state() for treatment in self.treatments],
                },
                self.state / paths.RESUME,
            )
        self._saved = time.monotonic()

    def _resume(self, batches: Any) -> None:
        file = self.state / paths.RESUME
        if not file.exists():
            return
        saved = checkpoints.read(file)
        session.load_weights(self.trainer, saved["model"])
        session.load_optimizer_state(self.trainer, saved["optimizer"], saved["progress"]["update"])
        if self.average:
            self.average.resume(saved["average"])
        position = saved["batches"]
        # each worker counts its own batches of the epoch
        position["iterations_in_epoch"] = (
            position["iterations_in_epoch"] * saved.get("workers", 1) // session.world_size()
        )
        batches.load_state_dict(position)
        self.progress.__dict__.update(saved["progress"])
        self._since_validation = saved["since_validation"]
        for treatment, state in zip(self.treatments, saved.get("treatments", []), strict=False):
            treatment.resume(state)
        self._show()
        print(f"resumed at update {self.progress.update}", flush=True)

    def _settle_precision(self) -> None:
        """Choose the precision that this machine allows, and report if it is not the one that was asked for.

        A training that began in single precision stays in it. One that began in mixed precision
        continues in single precision on a machine without bfloat16.
        """
        progress, (used, autocast, reason) = self.progress, self.precision
        before = progress.precisions[-1][1] if progress.precisions else None
        if before == "fp32":
            used, autocast, reason = before, False, None
        if used != before:
            progress.precisions.append((progress.update, used))
        self.trainer.autocast = autocast
        for row in progress.history:  # rows of older versions lack the precision
            row.setdefault("precision", used)
        if reason and self.master:
            since = (
                f" from update {progress.update + 1} on, after {before}" if before and before != used else ""
            )
            print(f"training in {used}{since}: {reason}", flush=True)

    def _report(self, epoch: int) -> None:
        progress, updates = self.progress, self.schedule.updates
        self._reported = time.monotonic()
        left = (updates - progress.update) * progress.seconds / progress.update
        sums = self._since_validation
        trained = int(sums["ntokens"])
        write_json(
            self.state / paths.PROGRESS,
            {
                "update": progress.update,
                "updates": updates,
                "epoch": epoch,
                "precision": progress.precision,
                "seconds": progress.seconds,
                "seconds_left": left,
                "loss": float(sums["loss"]) / trained if trained else None,
                "words_per_second": trained / sums["seconds"] if sums["seconds"] else None,
                "time": time.time(),
                "machine": this_machine(),
            },
        )
        print(f"update {progress.update}/{updates}, epoch {epoch}, {left:.0f} s left", flush=True)
