"""The trained NCF that the book explains: several initialisations, the best kept, stored with its state."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import torch
from joblib import Parallel, delayed

from accentlib.data import Sample
from accentlib.errors import DataError, InputError
from accentlib.ncf.ensemble import Ensemble, new_ensemble, unpack
from accentlib.ncf.model import NCF, NCFConfig, initialise, objective
from accentlib.ncf.training import Ratings, Run, check_steps, train
from accentlib.store import ROOT, digest, load_tensors, provenance, save_provenance, save_tensors
from accentlib.work import MEMBERS_AT_ONCE, check_device, single_thread, step_progress

MODEL_FILE = ROOT / "data" / "models" / "ncf.safetensors"
AVERAGED_PART = 0.1  # of the training run; the recommender of the `steady` protocol is this average
SHUFFLE_SEED = 2021


def train_published(
    sample: Sample,
    config: NCFConfig = NCFConfig(),
    initialisations: int = 8,
    device: str = "cpu",
    workers: int = 2,
    path: Path = MODEL_FILE,
    work_folder: Path | None = None,
) -> dict:
    """Trains NCF from `initialisations` seeds, stores the best by training objective, returns its facts.

    Stored are the last iterate with Adam's moments (the `paper` protocol's recommender and every
    warm start) and the average over the last tenth of the run (the `steady` protocol's). Beside the
    file lies its provenance, which lists the objective of every initialisation. Killed and called
    again, the run goes on where it was: its state lies in `work_folder` (by default beside `path`).
    Raises InputError for a device that PyTorch cannot use, no initialisation, or too few steps.
    """
    check_device(device)
    if initialisations < 1:
        raise InputError(f"initialisations is {initialisations}, but must be at least 1.")
    check_steps(published_run(config))
    begun = time.time()
    seeds = list(range(initialisations))
    chunks = [seeds[i : i + MEMBERS_AT_ONCE] for i in range(0, len(seeds), MEMBERS_AT_ONCE)]
    work_folder = work_folder or path.parent
    jobs = (delayed(train_chunk)(sample, config, chunk, device, work_folder) for chunk in chunks)
    finished = [member for chunk in Parallel(n_jobs=workers)(jobs) for member in chunk]
    best = min(finished, key=lambda member: member["objective_average"])
    listing = [{k: v for k, v in member.items() if k != "tensors"} for member in finished]
    facts = {
        "config": asdict(config),
        "shuffle_seed": SHUFFLE_SEED,
        "initialisation": best["initialisation"],
        "n_users": sample.n_users,
        "n_items": sample.n_items,
        "sample_digest": sample.digest,
    }
    save_tensors(path, best["tensors"], facts)
    record = provenance(
        seeds=seeds,
        sizes={"users": sample.n_users, "items": sample.n_items, "ratings": len(sample.train)},
        data_source=sample.source,
        duration_s=time.time() - begun,
        command="python -m accentlib train --recommender ncf"
        f" --initialisations {initialisations} --steps {config.steps}",
        device=device,
        initialisations=listing,
        **facts,
    )
    save_provenance(path, record)
    for chunk in chunks:
        finished_chunk(sample, config, chunk, work_folder).unlink(missing_ok=True)
    return record


def published_run(config: NCFConfig) -> Run:
    """The published recommender's training: its shuffles and the part that is averaged."""
    return Run(config.steps, SHUFFLE_SEED, average=True, settle=1 - AVERAGED_PART)


def chunk_key(sample: Sample, config: NCFConfig, seeds: list[int]) -> str:
    """What determines the training of a chunk of initialisations."""
    return digest(sample.digest, asdict(config), seeds, asdict(published_run(config)))


def finished_chunk(sample: Sample, config: NCFConfig, seeds: list[int], folder: Path) -> Path:
    """Where `train_chunk` leaves the trained members."""
    return folder / f".trained-{chunk_key(sample, config, seeds)}.safetensors"


def train_chunk(sample: Sample, config: NCFConfig, seeds: list[int], device: str, folder: Path) -> list[dict]:
    """Trains some initialisations of NCF side by side: one dict a member.

    Each has its `initialisation` seed, `objective_last` and `objective_average` over all training ratings,
    and `tensors`: the groups last, first, second (Adam's moments) and average, named group.parameter.
    An interrupted training goes on from its state in `folder`, and what is finished lies there, at
    `finished_chunk`, and is not trained again.
    """
    finished = finished_chunk(sample, config, seeds, folder)
    if finished.exists():
        return load_members(finished)
    data = Ratings.of(sample.train, device)
    models = [initialise(NCF(sample.n_users, sample.n_items, config.dim), seed) for seed in seeds]
    ensemble = new_ensemble(models, device)
    run = published_run(config)
    checkpoint = folder / f".training-{chunk_key(sample, config, seeds)}.safetensors"
    with single_thread(device), step_progress(f"NCF, initialisations {seeds}", run.steps) as on_step:
        average = train(ensemble, data, run, config, checkpoint=checkpoint, on_step=on_step)
    members = []
    for m, seed in enumerate(seeds):
        groups = {"last": ensemble.parameters, "first": ensemble.first, "second": ensemble.second, "average": average}
        tensors = {f"{group}.{k}": v[m].cpu() for group, values in groups.items() for k, v in values.items()}
        tensors["step"] = ensemble.step.cpu()
        record = {"initialisation": seed, "tensors": tensors}
        for name in ("last", "average"):
            model = unpack({k: v[m].cpu() for k, v in groups[name].items()}, sample.n_users)
            host = Ratings.of(sample.train)
            with torch.no_grad():
                value = objective(model, host.users, host.items, host.ratings, config.l2)
            record[f"objective_{name}"] = float(value)
        members.append(record)
    save_members(finished, members)
    return members


def save_members(path: Path, members: list[dict]) -> None:
    """The members of a chunk as one file, their tensors numbered by member."""
    tensors = {f"{m}/{name}": v for m, member in enumerate(members) for name, v in member["tensors"].items()}
    facts = [{name: value for name, value in member.items() if name != "tensors"} for member in members]
    save_tensors(path, tensors, {"members": facts})


def load_members(path: Path) -> list[dict]:
    """What `save_members` wrote."""
    tensors, metadata = load_tensors(path)
    numbered = [name.split("/") for name in tensors]
    return [
        facts | {"tensors": {name: tensors[f"{m}/{name}"] for n, name in numbered if n == str(m)}}
        for m, facts in enumerate(metadata["members"])
    ]


def load_published(sample: Sample, path: Path = MODEL_FILE) -> tuple[Ensemble, NCF, dict]:
    """The stored model: a one-member ensemble (last iterate, moments), the averaged NCF, its facts.

    Raises DataError if the file is missing, unreadable, or was trained on another sample.
    """
    if not path.exists():
        raise DataError(f"There is no trained NCF at {path}; `python -m accentlib train` makes one.")
    tensors, facts = load_tensors(path)
    if facts.get("sample_digest") != sample.digest:
        raise DataError(
            f"{path} was trained on the sample {facts.get('sample_digest')}, not on this one ({sample.digest});"
            " train anew or give the other file."
        )
    groups = {
        name: {k.split(".")[1]: v for k, v in tensors.items() if k.startswith(f"{name}.")}
        for name in ("last", "first", "second", "average")
    }
    stacked = {name: {k: v[None].contiguous() for k, v in group.items()} for name, group in groups.items()}
    ensemble = Ensemble(stacked["last"], stacked["first"], stacked["second"], tensors["step"], sample.n_users)
    return ensemble, unpack(groups["average"], sample.n_users), facts
