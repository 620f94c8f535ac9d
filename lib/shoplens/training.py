"""One training loop for every model of the study: SGD, a rate that falls, best epoch by validation, resumable."""

import copy
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import extract_model_from_parallel, set_seed
from torch import Tensor, nn

from shoplens import checkpoints, jobs
from shoplens.checkpoints import TrainingError
from shoplens.data.images import Batches

Step = Callable[[nn.Module, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
Validate = Callable[[nn.Module], dict[str, float]]
WARM_UP = 0.3       # share of a "one-cycle" schedule in which the rate rises
CHECK_EVERY = 20    # batches between two looks at the losses: each look waits for the device


@dataclass(frozen=True)
class Schedule:
    """How to train.

    shape: how the learning rate goes. "steps": multiplied by `decay` after each epoch number in `decay_after`, from 1,
    as in P1 §4.2. "one-cycle": up to `learning_rate` in the first 3/10 of all steps, then down along a cosine to next
    to nothing (Smith and Topin, 2018). select: the validation score that decides the best epoch, higher is better; ties
    go to the earlier epoch. precision: "no" (float32), "bf16" or "fp16". momentum and weight_decay are P1 §4.2's;
    nesterov: look ahead along the momentum.
    """

    epochs: int
    learning_rate: float
    decay_after: tuple[int, ...] = ()
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    precision: str = "no"
    seed: int = 0
    select: str = "macc"
    shape: str = "steps"
    nesterov: bool = False

    def __post_init__(self):
        if self.epochs < 1 or self.learning_rate <= 0:
            raise ValueError(f"training needs an epoch and a positive rate: EPOCHS is {self.epochs}, LEARNING_RATE "
                             f"{self.learning_rate}")
        if self.shape not in ("steps", "one-cycle"):
            raise ValueError(f"the rate goes in 'steps' or as 'one-cycle', got {self.shape!r}")

    def rate_factor(self, time: float) -> float:
        """Factor on the learning rate, `time` epochs after the start."""
        if self.shape == "steps":
            return self.decay ** sum(time >= after for after in self.decay_after)
        done = time / self.epochs
        rising = done < WARM_UP
        part = done / WARM_UP if rising else (done - WARM_UP) / (1 - WARM_UP)
        start, end = (1 / 25, 1) if rising else (1, 1e-4)
        return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def pick_device() -> torch.device:
    """CUDA or Apple's GPU where there is one, else the CPU. On CUDA the arithmetic is chosen here: float32 is float32
    (no TF32), and deterministic algorithms are taken wherever there are some, so that a seed means something."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def pick_precision(asked: str = "auto") -> str:
    """"auto" is "bf16" on GPUs that multiply bfloat16 in hardware (since Ampere), else "no" (float32): on CPUs no
    number may depend on the processor's model. Any other value stays."""
    if asked != "auto":
        return asked
    return "bf16" if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0) else "no"


def fit(model: nn.Module, step: Step, data: Batches, validate: Validate, schedule: Schedule, checkpoint: Path, *,
        groups: Callable[[nn.Module, float], list[dict]] | None = None, num_processes: int = 0) -> pd.DataFrame:
    """Train `model` in place and leave it with the weights of its best epoch, in eval mode.

    step(model, batch) → loss (mean over the batch, scalar), logs (name → scalar). validate(model) → name → number,
    called after each epoch with the model in eval mode, in the first process only. checkpoint: a folder; the state
    after each epoch, that of `data` included, is written there as one file by atomic rename, and a later call goes on
    from it; one that is not as it was written is set aside, and the training starts anew. Under the runner a training
    that was finished before, of the same weights, images, functions and library, is not done again. groups(model,
    rate) → SGD parameter groups (default: all parameters at the schedule's rate). num_processes: processes that share
    each batch; 0 = what the variable NUM_PROCESSES says, else 1.
    Returns one row per epoch: epoch, loss, learning_rate, seconds, images_per_second, logs, validation, best.
    Raises TrainingError for a loss that is not finite, for lack of memory, and for a checkpoint of another schedule.
    """
    file, num_processes = Path(checkpoint) / "last.pt", num_processes or int(os.environ.get("NUM_PROCESSES") or 1)
    work = (model, step, data, validate, schedule, groups)
    before = checkpoints.done_before(work, num_processes)
    state = before.state or _trained(*work, file, num_processes)
    before.keep(state)
    data.load_state_dict(state["data"])
    model.load_state_dict(state["best_model"])
    model.eval()
    set_seed(schedule.seed)     # what is drawn next must not tell whether this was trained now or before
    return pd.DataFrame(state["history"]).assign(best=lambda t: t["epoch"] == state["best_epoch"])


def _trained(model, step, data, validate, schedule, groups, file: Path, num_processes: int) -> dict:
    """The state after the last epoch, trained from what the checkpoint holds."""
    checkpoints.set_aside_broken(file)
    if num_processes > 1:       # weights come back through the checkpoint
        try:
            jobs.do("shoplens.training", (model, step, data, validate, schedule, file, groups), num_processes)
        except jobs.ProcessFailed as error:
            raise TrainingError(f"process {error.rank} of {num_processes} failed: {error}") from error
    else:
        try:
            _train(model, step, data, validate, schedule, file, groups)
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)     # the next fit may ask for another precision
            extract_model_from_parallel(model, keep_fp32_wrapper=False)     # takes the autocast off its forward
    return checkpoints.read(file)


def _train(model, step, data, validate, schedule, file, groups) -> None:
    accelerator = Accelerator(mixed_precision=schedule.precision)
    set_seed(schedule.seed, device_specific=True)       # dropout: each process draws its own
    model.to(accelerator.device, memory_format=torch.channels_last)
    rates = groups(model, schedule.learning_rate) if groups else [{"params": list(model.parameters())}]
    optimizer = torch.optim.SGD(rates, schedule.learning_rate, schedule.momentum, weight_decay=schedule.weight_decay,
                                nesterov=schedule.nesterov)
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    state = checkpoints.resume(file, _as_saved(schedule), model, optimizer, accelerator.scaler, data)
    wrapped, optimizer = accelerator.prepare(model, optimizer)

    for epoch in range(len(state["history"]), schedule.epochs):
        started = time.perf_counter()
        with _memory_advice(data, epoch):
            count, loss, logs = _one_epoch(accelerator, wrapped, step, data, optimizer, schedule, epoch)
        seconds = time.perf_counter() - started
        if accelerator.is_main_process:
            model.eval()
            with torch.no_grad(), _memory_advice(data, epoch), _as_in_test(model):
                scores = {name: float(value) for name, value in validate(model).items()}
            if not math.isfinite(scores.get(schedule.select, math.nan)):
                raise TrainingError(f"validation gave {scores}, no number {schedule.select!r} to select the epoch by")
            row = {"epoch": epoch + 1, "loss": loss, "learning_rate": schedule.learning_rate
                   * schedule.rate_factor(epoch), "seconds": seconds,
                   "images_per_second": count / seconds, **logs, **scores}
            state["history"].append(row)
            if scores[schedule.select] > state["best_score"]:
                state |= {"best_score": scores[schedule.select], "best_epoch": epoch + 1,
                          "best_model": copy.deepcopy(model.state_dict())}
            checkpoints.save(file, state, model, optimizer, accelerator.scaler, data)
            _report(row, scores, schedule.epochs, state["best_epoch"] == epoch + 1)
        accelerator.wait_for_everyone()
    accelerator.end_training()


def _as_saved(schedule: Schedule) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(schedule).items()}


@contextmanager
def _as_in_test(model: nn.Module) -> Iterator[None]:
    """Without the mixed precision that accelerate lays around a model's forward: validation computes as the test."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


def _set_rates(optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _one_epoch(accelerator, model, step, data, optimizer, schedule, epoch) -> tuple[float, float, dict[str, float]]:
    """All batches of one epoch. Returns the number of images in all processes, and the mean loss and mean logs over
    them."""
    model.train()
    losses, logged, weights = [], [], []
    _set_rates(optimizer, schedule.rate_factor(epoch))
    steps = len(data.plan(epoch)) if schedule.shape == "one-cycle" else 0
    for number, batch in enumerate(data.epoch(epoch, accelerator.device, accelerator.process_index,
                                              accelerator.num_processes)):
        if steps:
            _set_rates(optimizer, schedule.rate_factor(epoch + number / steps))
        with accelerator.autocast():
            loss, logs = step(model, batch)
        accelerator.backward(loss * batch["loss_scale"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        logged.append([torch.as_tensor(value).detach() for value in logs.values()])
        weights.append(len(batch["indices"]))
        if len(losses) % CHECK_EVERY == 0:
            _check_finite(losses, epoch)
    _check_finite(losses, epoch)
    columns = [[torch.ones_like(loss) for loss in losses], losses, *map(list, zip(*logged, strict=True))]
    values = torch.stack([torch.stack(column).float().cpu() for column in columns])
    sums = values.double() @ torch.tensor(weights, dtype=torch.float64)
    sums = accelerator.reduce(sums.float().to(accelerator.device), "sum")
    loss, *means = (sums[1:] / sums[0]).tolist()
    return sums[0].item(), loss, dict(zip(logs, means, strict=True))


@contextmanager
def _memory_advice(data: Batches, epoch: int) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise TrainingError(f"out of memory in epoch {epoch + 1}: lower BATCH_SIZE (now {data.batch_size}) or "
                            f"IMAGE_SIZE (now {data.store.size})") from error


def _check_finite(losses: list[Tensor], epoch: int) -> None:
    finite = torch.isfinite(torch.stack(losses[-CHECK_EVERY:]))
    if not finite.all():
        batch = max(0, len(losses) - CHECK_EVERY) + int((~finite).nonzero()[0])
        raise TrainingError(f"the loss is {losses[batch].item()} in epoch {epoch + 1}, batch {batch + 1}: "
                            f"lower LEARNING_RATE, or look at that batch for a broken input")


def _report(row: dict, scores: dict[str, float], epochs: int, best: bool) -> None:
    validation = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
    print(f"epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:.4f}  {validation}  rate {row['learning_rate']:.1e}  "
          f"{row['images_per_second']:.0f} images/s{'  best so far' if best else ''}", flush=True)


@torch.no_grad()
def predict(function: Callable[[Tensor], Tensor | dict[str, Tensor]], data: Batches) -> np.ndarray | dict:
    """function(images) for every row of `data`, in order, as one float32 array N×…, or name → array where the
    function returns name → tensor; no gradients, no augmentation.

    Pass a model in eval mode, or one of its methods.
    """
    owner = getattr(function, "__self__", function)
    device = next(owner.parameters()).device
    outputs = [function(batch["images"]) for batch in data.epoch(None, device)]
    if isinstance(outputs[0], dict):
        return {name: _joined([part[name] for part in outputs]) for name in outputs[0]}
    return _joined(outputs)


def _joined(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).float().cpu().numpy()


if __name__ == "__main__":
    jobs.worker(_train, Path(sys.argv[1]))
