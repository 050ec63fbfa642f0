"""The command line: `python -m accentlib --help`.

Results go to standard output, everything else to standard error. Exit code 0: done; 1: something
outside failed (data, files, a notebook's cell); 2: the command or one of its values is not allowed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import yaml

from accentlib.errors import AccentError, InputError
from accentlib.explainers import EXPLAINERS
from accentlib.recommenders import RECOMMENDERS, load_recommender, package, studies


def parser() -> argparse.ArgumentParser:
    """The command line's grammar, with examples."""
    main = argparse.ArgumentParser(
        prog="python -m accentlib",
        description="Counterfactual explanations for recommenders: ACCENT on MovieLens 100K.",
        epilog="Start with `python -m accentlib data`, then `python -m accentlib explain --user 7`.",
    )
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, help, example):
        sub = commands.add_parser(
            name, help=help, description=help, epilog=f"example:\n  python -m accentlib {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.set_defaults(run=run)
        return sub

    data = command("data", run_data, "Fetch the sample and print its counts.", "data --json")
    data.add_argument("--json", action="store_true", help="print the counts as JSON")

    train = command(
        "train", run_train, "Train a published model again, from nothing.", "train --recommender ncf --workers 2",
    )  # fmt: skip
    stored = [name for name, built_in in RECOMMENDERS.items() if built_in.options is not None]
    train.add_argument("--recommender", choices=stored, default="ncf")
    for option, meanings in training_options().items():
        train.add_argument(f"--{option}", type=int, metavar="N", help="; ".join(meanings))
    train.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    train.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    train.add_argument("--output", type=Path, help="the .safetensors file to write (default: the published one)")

    explain = command(
        "explain", run_explain, "Explain a user's recommendation in words.",
        "explain --recommender ncf --user 7 --k 5 --explainer accent",
    )  # fmt: skip
    explain.add_argument("--recommender", choices=RECOMMENDERS, default="ncf")
    explain.add_argument("--user", type=int, required=True, help="MovieLens' own user id")
    explain.add_argument("--k", type=int, default=5, help="replacements come from the top k (default: 5)")
    explain.add_argument("--explainer", choices=sorted(EXPLAINERS), default="accent")
    explain.add_argument("--protocol", default="steady",
                         help="which weights and influences: steady (default) or paper")  # fmt: skip
    explain.add_argument("--json", action="store_true", help="print the explanation as JSON")

    evaluate = command(
        "evaluate", run_evaluate, "Run the evaluation notebook with parameters of your own.",
        "evaluate -p users 10 -p ks '[5, 10]' -o run.ipynb",
    )  # fmt: skip
    evaluate.add_argument(
        "-p", dest="given", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="set a parameter; the value is read as YAML: 10, [5, 10], all",
    )  # fmt: skip
    evaluate.add_argument("-o", dest="output", type=Path, default=Path("evaluate-run.ipynb"),
                          help="where the executed notebook goes (default: evaluate-run.ipynb)")  # fmt: skip
    evaluate.add_argument("--list", action="store_true", help="list the parameters and their defaults")

    table1 = command(
        "table1", run_table1, "Run the paper's Table 1: all users, all rows, verified. Takes hours, goes on where it was.",
        "table1 --run ncf-steady --workers 2",
    )  # fmt: skip
    table1.add_argument("--run", dest="runs", action="append", metavar="RECOMMENDER-PROTOCOL",
                        help="only this run, such as ncf-steady; may be repeated (default: all)")  # fmt: skip
    table1.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    table1.add_argument("--engine", default="loky", help="who does the work: loky (default), sequential or dask")
    table1.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    table1.add_argument("--pack", action="store_true",
                        help="retrain nothing; store what is retrained so far, to go on with it on another machine")
    table1.add_argument("--output", type=Path, help="the CSV to write, the runs' tables beside it (default: the stored one)")

    study = command(
        "study", run_study, "Repeat one of the book's stored studies.", "study noise --workers 2",
    )  # fmt: skip
    study.add_argument("name", choices=studies(), help="which one")
    study.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    study.add_argument("--pack", action="store_true", help="as in table1; study plus alone packs what it has retrained")
    study.add_argument("--output", type=Path, help="the CSV to write (default: the stored one in data/results)")
    return main


def training_options() -> dict[str, list[str]]:
    """For each option of any recommender's training, what it means to whom."""
    found: dict[str, list[str]] = {}
    for name, built_in in RECOMMENDERS.items():
        for option, is_ in (built_in.options or {}).items():
            found.setdefault(option, []).append(f"{name}: {is_.meaning} (default: {is_.default})")
    return found


def run_data(options) -> None:
    from accentlib.data import counts, load_movielens
    from accentlib.relations import load_relations

    sample = load_movielens()
    relations = load_relations(sample)
    found = counts(sample)
    if options.json:
        print(json.dumps(found | {"relations": relations.source, "relation_rows": len(relations.rows)}))
        return
    print(f"MovieLens 100K from {sample.source}")
    for name, value in found.items():
        print(f"{name.replace('_', ' '):>13} {value:>7,}")
    print(f"Relations: {relations.source}, {len(relations.rows):,} rows")


def run_train(options) -> None:
    from accentlib.data import load_movielens

    chosen = chosen_options(options)
    if options.workers < 1:
        raise InputError(f"--workers is {options.workers}, but must be at least 1.")
    train = package(options.recommender).train_recommender
    print(train(load_movielens(), options.output, options.device, options.workers, **chosen))


def chosen_options(options) -> dict[str, int]:
    """The training's options, given or by default; InputError for a wrong value or another recommender's option."""
    own, chosen = RECOMMENDERS[options.recommender].options, {}
    for name in training_options():
        value = getattr(options, name)
        if name in own:
            chosen[name] = own[name].default if value is None else value
            if chosen[name] < own[name].least:
                raise InputError(f"--{name} is {value}, but must be at least {own[name].least}.")
        elif value is not None:
            listed = ", ".join(f"--{option}" for option in own)
            raise InputError(f"--{name} is {value}, but {options.recommender} has no such option; it has {listed}.")
    return chosen


def run_explain(options) -> None:
    from accentlib.data import load_movielens
    from accentlib.evaluate import explain_users
    from accentlib.plus.confidence import confidence
    from accentlib.words import as_data, in_words

    sample = load_movielens()
    recommender = load_recommender(options.recommender, sample, options.protocol)
    user = sample.user_code(options.user)
    (one,) = explain_users(recommender, [user], [options.explainer], [options.k])
    facts = as_data(sample, one, options.explainer, options.k, recommender.in_common)
    facts["confidence"] = confidence(recommender, one, one.explanations[options.explainer, options.k])
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    print(in_words(sample, one, options.explainer, options.k))
    if facts["explanation"]:
        before, after = facts["gap"], facts["estimated_gap"]
        told = any(action["in_common"] for action in facts["explanation"])
        more = ", by film, and what it shares with the recommendation" if told else ""
        print(f"\nThe gap of {before:.3f} {recommender.unit} would become {after:.3f} (estimated){more}:")
        for action in facts["explanation"]:
            year = f" ({action['year']})" if action["year"] else ""
            shared = f": {action['in_common']}" if told else ""
            print(f"  {-action['effect']:+.3f}  {action['title']}{year}{shared}")
        if facts["confidence"] is not None:
            print(f"\nOf explanations like this one, {facts['confidence']:.0%} held when they were verified by retraining.")


def run_evaluate(options) -> None:
    from papermill.exceptions import PapermillExecutionError

    from accentlib.experiment import parameters, run_experiment

    if options.list:
        for name, default in parameters().items():
            print(f"{name} = {default}")
        return
    given = {name: parameter(name, value) for name, value in options.given}
    if isinstance(folder := given.get("output"), str):
        given["output"] = str(Path(folder).resolve())  # the notebook runs in its own folder
    try:
        run_experiment(given, options.output)
    except PapermillExecutionError as error:
        kind = InputError if error.ename == InputError.__name__ else AccentError
        raise kind(f"A cell failed with {error.ename}: {error.evalue} (see {options.output}).") from error
    print(f"The executed notebook is {options.output}")


def parameter(name: str, value: str) -> object:
    """A parameter's value read as YAML; InputError if it is none."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"The value {value!r} of {name} is not YAML, such as 10, [5, 10] or all.") from error


def run_table1(options) -> None:
    from accentlib.data import load_movielens
    from accentlib.table1 import RESULTS, RUNS, pack_all, run_all

    named = {f"{run.recommender}-{run.protocol}": run for run in RUNS}
    for name in options.runs or ():
        if name not in named:
            raise InputError(f"--run is {name}, but must be one of {', '.join(named)}.")
    runs = [named[name] for name in options.runs or named]
    path = options.output or RESULTS
    if options.pack:
        for name, (done, of) in pack_all(load_movielens(), path, runs, options.device).items():
            print(f"{name}: {done} of {of} units of retrainings are packed beside {path}")
        return
    table = run_all(load_movielens(), path, runs, options.workers, options.engine, options.device)
    print(f"{len(table)} rows are in {path}")


def run_study(options) -> None:
    from importlib import import_module
    from inspect import signature

    from accentlib.data import load_movielens

    from accentlib.plus.bank import Unfinished

    module = import_module(studies()[options.name])
    path = options.output or module.RESULTS
    if options.pack and "only_pack" not in signature(module.run_study).parameters:
        raise InputError(f"--pack is given, but the study {options.name} packs nothing; plus does.")
    try:
        more = {"only_pack": True} if options.pack else {}
        table = module.run_study(load_movielens(), path, options.workers, **more)
    except Unfinished as error:
        print(error)
        return
    print(f"{len(table)} rows are in {path}")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = parser().parse_args(arguments)
    logger = logging.getLogger("accentlib")
    if not any(type(handler) is logging.StreamHandler for handler in logger.handlers):
        logger.addHandler(logging.StreamHandler(sys.stderr))
    try:
        options.run(options)
    except AccentError as error:
        print(f"accentlib: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except OSError as error:
        print(f"accentlib: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("accentlib: stopped; what was finished is kept", file=sys.stderr)
        return 130
    return 0
