"""The trained RCF that the book explains: one initialisation, as in the paper, at two lengths of training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from accentlib.data import Sample
from accentlib.errors import DataError, InputError
from accentlib.rcf.model import RCF, RCFConfig, initialise
from accentlib.rcf.step import Parameters
from accentlib.rcf.training import Members, Run, TrainingData, steps_per_epoch, train
from accentlib.relations import Relations
from accentlib.store import ROOT, digest, load_tensors, provenance, save_provenance, save_tensors
from accentlib.work import check_device, single_thread, step_progress

MODELS = ROOT / "data" / "models"
SHUFFLE_SEED = 2021
EPOCHS = (50, 15)  # the paper's; and enough for the loss, see book/rcf.md
INITIALISATION = 0


def model_file(relations: Relations) -> Path:
    """Where the model that was trained with these relations is stored: a model fits no others."""
    return MODELS / f"rcf-{relations.digest[:8]}.safetensors"


def initial(sample: Sample, relations: Relations, config: RCFConfig, seed: int, device: str = "cpu") -> Parameters:
    """The parameters of a new model, drawn with `seed` (on the CPU, so that every device starts alike)."""
    model = initialise(new_model(sample, relations, config), seed)
    return {name: v.detach().to(device) for name, v in model.named_parameters()}


def new_model(sample: Sample, relations: Relations, config: RCFConfig) -> RCF:
    """A model of the sizes that the sample, the relations and the configuration ask for, not initialised."""
    model = RCF(sample.n_users, relations.n_films, relations.n_values, config.dim, config.attention)
    return model.requires_grad_(False)


def train_published(
    sample: Sample,
    relations: Relations,
    config: RCFConfig = RCFConfig(),
    epochs: Sequence[int] = EPOCHS,
    initialisation: int = INITIALISATION,
    device: str = "cpu",
    path: Path | None = None,
) -> dict:
    """Trains RCF for each number of `epochs` and stores the models at `path` (by default at `model_file`).

    Returns their facts. Beside the file lies its provenance, with the loss of every epoch of the longest
    training. Killed and called again, the run goes on where it was. Raises InputError for a device that
    PyTorch cannot use or less than one epoch.
    """
    check_device(device)
    if not epochs or min(epochs) < 1:
        raise InputError(f"epochs is {list(epochs)}, but must hold whole numbers of at least 1.")
    begun, path = time.time(), path or model_file(relations)
    data = TrainingData.of(sample, relations)
    per_epoch = steps_per_epoch(len(data.triples), config.batch_size)
    trained = {n: train_one(sample, data, config, n * per_epoch, initialisation, device, path.parent) for n in epochs}
    facts = {
        "config": asdict(config),
        "epochs": list(epochs),
        "steps": [n * per_epoch for n in epochs],
        "shuffle_seed": SHUFFLE_SEED,
        "initialisation": initialisation,
        "n_users": sample.n_users,
        "n_films": relations.n_films,
        "n_values": relations.n_values,
        "sample_digest": sample.digest,
        "relations": relations.source,
        "relations_digest": relations.digest,
    }
    tensors = {
        f"{n * per_epoch}.{name}": v.cpu() for n, member in trained.items() for name, v in member.parameters.items()
    }
    save_tensors(path, tensors, facts)
    losses = trained[max(epochs)].losses.view(-1, per_epoch).sum(1)
    record = provenance(
        seeds=[SHUFFLE_SEED],
        sizes={
            "users": sample.n_users,
            "films": relations.n_films,
            "triples": len(data.triples),
            "entries": len(data.entries),
        },
        data_source=sample.source,
        duration_s=time.time() - begun,
        command="python -m accentlib train --recommender rcf",
        device=device,
        epoch_losses=[round(float(loss), 7) for loss in losses],
        **facts,
    )
    save_provenance(path, record)
    return record


def train_one(
    sample: Sample,
    data: TrainingData,
    config: RCFConfig,
    steps: int,
    initialisation: int,
    device: str,
    folder: Path,
) -> Members:
    """Trains the recommender itself, with its own shuffles; an interrupted training goes on from its state in `folder`."""
    run = Run(steps, SHUFFLE_SEED)
    key = digest(sample.digest, data.relations.digest, asdict(config), asdict(run), initialisation)
    start = initial(sample, data.relations, config, initialisation, device)
    checkpoint = folder / f".training-{key}.safetensors"
    with single_thread(device), step_progress("RCF", steps) as on_step:
        (member,) = train([start], data, run, config, checkpoint=checkpoint, on_step=on_step)
    return member


def load_published(sample: Sample, relations: Relations, path: Path | None = None) -> tuple[dict[int, RCF], dict]:
    """The stored models by their numbers of steps, and their facts.

    Raises DataError if the file is missing, unreadable, or was trained on another sample or other relations.
    """
    path = path or model_file(relations)
    if not path.exists():
        raise DataError(
            f"There is no RCF trained with {relations.source} at {path};"
            " `python -m accentlib train --recommender rcf` makes one."
        )
    tensors, facts = load_tensors(path)
    for name, digest_here in (("sample", sample.digest), ("relations", relations.digest)):
        if facts.get(f"{name}_digest") != digest_here:
            raise DataError(
                f"{path} was trained on the {name} {facts.get(f'{name}_digest')}, not on this one ({digest_here});"
                " train anew or give the other file."
            )
    models = {}
    for steps in facts["steps"]:
        own = {name.split(".")[1]: v for name, v in tensors.items() if name.startswith(f"{steps}.")}
        models[steps] = new_model(sample, relations, RCFConfig(**facts["config"]))
        models[steps].load_state_dict(own)
    return models, facts
