"""Parallel work: threads, chunk sizes and progress, the same for every long run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from accentlib.errors import InputError

MEMBERS_AT_ONCE = 4  # on a CPU four members' buffers still fit a core's cache
MEMBERS_ON_A_DEVICE = 16  # their operations are one; of RCF some 2 GB


def members_at_once(device: str) -> int:
    """How many models to train side by side on `device`."""
    return MEMBERS_AT_ONCE if device == "cpu" else MEMBERS_ON_A_DEVICE


@contextmanager
def single_thread(device: str = "cpu") -> Iterator[None]:
    """Within it, small operations on a CPU have a core of their own; on another `device` nothing changes.

    One thread, since such operations lose by sharing. Denormal numbers count as zero: the collapsed
    GMF embeddings are full of them, and they slow arithmetic down.
    """
    if device != "cpu":
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def check_device(device: str) -> None:
    """Raises InputError unless PyTorch can put a tensor on `device`."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device is {device!r}, which PyTorch cannot use here; allowed: cpu, or cuda with a GPU.") from error


@contextmanager
def step_progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, moved on by calls with the number of steps done."""
    with tqdm(total=total, desc=label, mininterval=5, miniters=1, unit="step") as bar:

        def on_step(done: int) -> None:
            if done % 100 == 0 or done == total:
                bar.update(done - bar.n)

        yield on_step
