"""A trial's configuration as Hugging Face's `TrainingArguments`.

Knows nothing of how a trial trains.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainingArguments

from tuner.hyperparameters import BATCH, EPOCHS, OUR_OWN, SEED, Batch, Configuration


def training_arguments(
    configuration: Configuration,
    batch: Batch,
    steps: int,
    folder: str,
    *,
    precision: str,
    gpus: float,
    unused_parameters: bool,
) -> TrainingArguments:
    """A configuration as Hugging Face's arguments, with the fields that a trial may not choose.

    Raises what TrainingArguments raises: TypeError for an unknown name, ValueError for a bad value.
    """
    chosen: dict[str, Any] = {
        **{name: value for name, value in configuration.items() if name not in OUR_OWN},
        EPOCHS: float(configuration[EPOCHS]),
        SEED: int(configuration[SEED]),
        BATCH: batch.micro,
    }
    arguments = TrainingArguments(
        **chosen,
        output_dir=folder,
        data_seed=chosen[SEED],
        max_steps=steps,
        gradient_accumulation_steps=batch.accumulation,
        # Without this, accelerate leaves the gradients of CPU workers apart, and says nothing.
        use_cpu=gpus == 0,
        bf16=precision == "bf16" or (precision == "auto" and gpus > 0 and _has_bf16()),
        fp16=precision == "fp16",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        log_level="warning",  # as `training.quieten` has it
        log_level_replica="error",
        remove_unused_columns=False,
        dataloader_num_workers=0,
        average_tokens_across_devices=False,
        ddp_find_unused_parameters=unused_parameters,
    )
    if arguments.n_gpu > 1:
        # One process uses one device; the Trainer would spread its batches over all it sees.
        arguments._n_gpu = 1
    return arguments


def _has_bf16() -> bool:
    """Whether this process's GPU computes in bf16 itself; older ones only emulate it."""
    return bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported(False))
