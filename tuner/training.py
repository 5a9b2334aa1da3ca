"""One trial's Trainer: Hugging Face's own loop, with batches grouped by length and a loss that is
the same however many workers and passes share a batch. Knows nothing of rungs, slots or Tune.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
import transformers
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from tuner.batches import Feed, GroupedBatches, Numbers, Padding, Rows, padded
from tuner.connections import patiently
from tuner.disks import MEND, writing
from tuner.layers import spread_rates
from tuner.losses import Losses, row_losses
from tuner.stores import is_uri, open_store
from tuner.swaps import beside

BACKWARD = "backward"
"""The part of a step in which the ranks' gradients meet: whoever fails there fails the others."""


def quieten() -> None:
    """Keep the libraries' progress bars and per-trial remarks off the terminal, but not warnings
    out of a trial's log."""
    logging: Any = transformers.utils.logging
    logging.set_verbosity_warning()
    for handler in logging.get_logger().handlers:
        handler.setLevel(logging.ERROR)
    logging.disable_progress_bar()
    # fp16 skips its first updates by design, and torch then takes the schedule to be out of order.
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step")


class StepEnd(TrainerCallback):
    """Calls a function when training begins, one before and one after every optimizer step."""

    def __init__(
        self,
        begin: Callable[[], None],
        update: Callable[[], None],
        step: Callable[[int, Any], None],
    ) -> None:
        self._begin = begin
        self._update = update
        self._step = step

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begin()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._update()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._step(state.global_step, control)


class SlotTrainer(Trainer):
    """Hugging Face's Trainer for one trial.

    The loss of a pass is the sum over its rows, divided by the rows of the whole global batch and
    multiplied by the number of workers, which DistributedDataParallel divides by: gradients are
    those of the global batch's mean loss on any number of workers and passes, short batches too.

    `keep` is called on every rank when a checkpoint is due, and calls `write_checkpoint` on rank 0.
    `mark` is told the point of the trial that this rank has come to. `layer_decay` is as in
    `layers.rate_shares`.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        args: TrainingArguments,
        model_init: Callable[[], PreTrainedModel],
        rows: Rows,
        padding: Padding,
        batches: GroupedBatches,
        regression: bool,
        callback: TrainerCallback,
        keep: Callable[[], None],
        mark: Callable[[str], None],
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__(
            args=args,
            model_init=model_init,
            train_dataset=Feed(rows, padding),
            callbacks=[callback],
        )
        # The model is built and the generators stand where building left them. train() would seed
        # and build once more, to the very same end.
        self.model_init: Any = None
        self.remove_callback(PrinterCallback)
        self.padding = padding
        self.batches = batches
        self.regression = regression
        self.losses = Losses(args.device)
        self._keep = keep
        self._mark = mark
        self._layer_decay = layer_decay
        self._passes = 0
        self._random_states: Sequence[tuple[str, bytes]] = ()
        self._checkpoint_folder: str | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Our batches, kept from accelerate: each rank's sampler yields that rank's own part."""
        rows: Any = self.train_dataset
        return _EpochLoader(rows, batch_sampler=self.batches, collate_fn=_as_is)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Hugging Face's, with smaller rates for lower layers where `layer_decay` is below 1."""
        fresh = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if fresh and self._layer_decay < 1:
            spread_rates(optimizer, self.network, self._layer_decay)
        return optimizer

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The pass's share of the global batch's mean loss, times the number of workers."""
        self._passes += 1
        self._mark(f"pass {self._passes}")
        inputs = dict(inputs)
        labels, weights = inputs.pop("labels"), inputs.pop("weights")
        outputs = model(**inputs)
        losses = row_losses(
            outputs.logits, labels, self.regression, self.args.label_smoothing_factor
        )
        loss = (losses * weights).sum() * self.batches.batch.workers
        self.losses.add(loss)
        if self.accelerator.sync_gradients:
            self._mark(BACKWARD)
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: nobody reads them, and counting visits every parameter at every step."""
        return 0

    def store_flos(self) -> None:
        """Nothing to store."""

    def logits(self, rows: Rows, batches: Sequence[Numbers]) -> Numbers:
        """The model's logits for the rows in `batches`, in that order: float32 [rows, labels]."""
        network: Any = self.network
        optimizer: Any = self.optimizer
        network.eval()
        if callable(getattr(optimizer, "eval", None)):
            optimizer.eval()
        found: list[torch.Tensor] = []
        with torch.no_grad():
            for batch in batches:
                inputs = self._prepare_inputs(padded(rows, batch, self.padding))
                found.append(network(**inputs).logits.float())
        if not found:
            return np.zeros((0, network.config.num_labels), np.float32)
        together: Numbers = torch.cat(found).cpu().numpy()
        return together

    def leave_mixed_precision(self) -> None:
        """Have the network compute in fp32 from now on, as whoever reads its file will have it."""
        self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False)

    @property
    def network(self) -> PreTrainedModel:
        """The model itself, without what accelerate and DDP put around it."""
        return cast(PreTrainedModel, self.model)

    def random_state(self) -> tuple[str, bytes]:
        """Name and content of the file with this rank's generators, as Hugging Face writes it."""
        with TemporaryDirectory(prefix="tuner-") as folder:
            super()._save_rng_state(folder)
            (path,) = Path(folder).iterdir()
            return path.name, path.read_bytes()

    def write_checkpoint(self, folder: str, random_states: Sequence[tuple[str, bytes]]) -> None:
        """Write `folder`/checkpoint-STEP: weights, optimizer, schedule, every rank's generators.

        For rank 0 alone, so that one disk holds the whole of it.
        """
        self._checkpoint_folder = folder
        self._random_states = random_states
        try:
            super()._save_checkpoint(self.network, trial=None)
        finally:
            self._checkpoint_folder, self._random_states = None, ()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._keep()

    def _get_output_dir(self, trial: Any) -> str:
        return self._checkpoint_folder or str(self.args.output_dir)

    def _save_rng_state(self, output_dir: str) -> None:
        for name, content in self._random_states:
            Path(output_dir, name).write_bytes(content)

    def release(self) -> None:
        """Let go of model and optimizer: what is left is small, whoever still refers to it."""
        self.accelerator.free_memory()
        self.accelerator.gradient_state._set_sync_gradients(True)
        for name in ("model", "optimizer", "lr_scheduler", "train_dataloader"):
            setattr(self.callback_handler, name, None)
        for name in ("model", "model_wrapped", "optimizer", "lr_scheduler"):
            setattr(self, name, None)


class _EpochLoader(DataLoader[Any]):
    """The Trainer tells a loader which epoch begins if the loader can be told."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


def _as_is(batch: Any) -> Any:
    return batch


def has_unused_parameters(model: PreTrainedModel, rows: Rows, padding: Padding) -> bool:
    """Whether some of the model's weights have no part in its logits: DDP has to be told."""
    model(**padded(rows, np.array([0]), padding)).logits.sum().backward()
    return any(weight.requires_grad and weight.grad is None for weight in model.parameters())


def save_model(model: PreTrainedModel, folder: str) -> None:
    """Write the model's configuration and safetensors to `folder`, all at once or not at all.

    At a URI the files appear one by one. Raises Unwritable where the disk does not take them.
    """
    if is_uri(folder):
        with TemporaryDirectory(prefix="tuner-") as near:
            with writing(near, MEND):
                model.save_pretrained(near)
            patiently(lambda: open_store(folder).send(Path(near), ""))
        return
    with writing(folder, MEND), beside(Path(folder)) as fresh:
        model.save_pretrained(fresh)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the host or the device had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    signs = ("can't allocate memory", "DefaultCPUAllocator", "CUDA out of memory")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
