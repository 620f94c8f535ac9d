"""Where the images come from: one small module per data set in `sources`, each with `prepare(...) -> Catalogue`.

>>> from shoplens.data import registry
>>> catalogue = registry.prepare("grocery")                                            # doctest: +SKIP
"""

import importlib
import inspect
import pkgutil
from dataclasses import replace
from types import ModuleType

from shoplens.data import sources
from shoplens.data.catalogue import Catalogue
from shoplens.data.sources.fetch import find_raw


def names() -> list[str]:
    """The data sets there are: the modules of `sources` that have a `prepare`."""
    modules = [importlib.import_module(f"{sources.__name__}.{found.name}")
               for found in pkgutil.iter_modules(sources.__path__)]
    return [source.__name__.rpartition(".")[2] for source in modules if hasattr(source, "prepare")]


def module(name: str) -> ModuleType:
    """The module of the source called `name`; imported only now, so that one source never needs another's."""
    here = [found.name for found in pkgutil.iter_modules(sources.__path__)]
    source = importlib.import_module(f"{sources.__name__}.{name}") if name in here else None
    if not hasattr(source, "prepare"):
        raise ValueError(f"there is no dataset {name!r}; DATASET is one of {', '.join(names())}")
    return source


def ensure_raw(name: str) -> None:
    """Download the raw data of the dataset `name` where it is missing; nothing for one that is drawn or the user's own.

    Raises DataError with what to put where when it cannot be had.
    """
    source = module(name)
    if raw := getattr(source, "RAW", None):
        find_raw(raw)
    elif hasattr(source, "raw_folder"):     # a publisher who asks for a signature
        source.raw_folder()


def prepare(name: str, **parameters) -> Catalogue:
    """Catalogue of the dataset `name`, one of `names()`.

    parameters: those of the source's own `prepare`, each a plain literal.
    Raises ValueError for a name or a parameter that does not exist, naming those that do; DataError where raw
    files are missing; CatalogueError where they are not usable.
    """
    function = module(name).prepare
    known = list(inspect.signature(function).parameters)
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"dataset {name!r} takes no parameter {', '.join(map(repr, unknown))}; "
                         f"it takes {', '.join(known) or 'none'}")
    return replace(function(**parameters), source=parameters)
