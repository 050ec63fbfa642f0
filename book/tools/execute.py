"""Runs the chapters whose outputs are not in the execution cache, several at once: `python -m book.tools.execute`.

Sphinx, which would run them one after another, then finds all outputs in the cache.
"""

import os
import sys
from pathlib import Path

import yaml
from joblib import Parallel, delayed
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from nbformat import NotebookNode

from book.tools.chapters import ROOT, notebooks, read

CACHE = ROOT / "_build" / ".jupyter_cache"
AT_ONCE = min(os.cpu_count() or 1, 4)  # more would want some gigabytes more


def in_cache(cache: JupyterCacheAbstract, notebook: NotebookNode) -> bool:
    """Whether a notebook with these cells has been run before."""
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        return False
    return True


def execute(chapter: Path, timeout: int) -> tuple[Path, NotebookNode, ExecutionResult]:
    """The chapter with its outputs, run where it lies; a cell may take `timeout` seconds."""
    notebook = read(chapter)
    return chapter, notebook, single_nb_execution(notebook, cwd=str(chapter.parent), timeout=timeout, allow_errors=False)


def main() -> int:
    cache = get_cache(str(CACHE))
    pending = [chapter for chapter in notebooks() if not in_cache(cache, read(chapter))]
    timeout = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["execute"]["timeout"]
    # Each has its share of the cores: threads of several chapters on one core wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // AT_ONCE)))
    jobs = (delayed(execute)(chapter, timeout) for chapter in pending)
    failed = 0
    for chapter, notebook, result in Parallel(AT_ONCE, return_as="generator_unordered")(jobs):
        name = chapter.relative_to(ROOT)
        if result.err is not None:
            failed += 1
            print(f"{name} failed: {result.err}", file=sys.stderr, flush=True)
            continue
        bundle = CacheBundleIn(notebook, str(chapter), data={"execution_seconds": result.time})
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
        print(f"{name} executed in {result.time:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
