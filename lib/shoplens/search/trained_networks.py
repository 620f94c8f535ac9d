"""The networks that notebook 09 trained: what each learned from which candidates, their names in P2 Table 4, and all
those of one protocol together (P2 §5.4)."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from shoplens.models.netvlad import Descriptor, NetVLADInit
from shoplens.search.activations import RowFeatures, features_of
from shoplens.search.networks import GEM, GLOBAL, FrozenTrunk, make_head, restore_descriptor
from shoplens.search.protocols import SearchProtocol

NOTEBOOK = "09_rank_based_learning"
SELECTIONS = ("closest", "20th", "20th+Pos10")          # P2 Table 4
FEATURE_NAMES = {GLOBAL: "G", GEM: "gem", "relu": "L"}  # every other feature is local too, "L-" and its kind


def feature_name(kind: str) -> str:
    """What tables call a feature: "global" → "G", "relu" → "L", "norm" → "L-norm", "gem" → "gem"."""
    return FEATURE_NAMES.get(kind, f"L-{kind}")


def feature_kind(name: str) -> str:
    """The kind of `make_head` that tables call `name`."""
    kinds = {name: kind for kind, name in FEATURE_NAMES.items()}
    return kinds.get(name, name.removeprefix("L-"))


def selection_name(positive_rank: int, ambiguous: int, *, squared: bool, interval: int, usual_interval: int) -> str:
    """"closest", "20th", "20th+Pos10", or such a name for other ranks and counts; ", plain" where the distance is not
    squared, ", mined every 1000" where candidates were mined at another interval than the usual one."""
    name = "closest" if positive_rank == 1 else f"{positive_rank}th"
    name = f"{name}+Pos{ambiguous}" if ambiguous else name
    name = name if squared else f"{name}, plain"
    return name if interval == usual_interval else f"{name}, mined every {interval}"


def counterpart(selection: str, others: list[str]) -> str:
    """The one of `others` that another reading is compared with: its own name before the comma, else the last that has
    as many ambiguous positives, else the last."""
    name = selection.split(", ")[0]
    alike = [other for other in others if other.partition("+")[2] == name.partition("+")[2]]
    return name if name in others else (alike or others)[-1]


@dataclass(frozen=True)
class TrainedNetwork:
    """A run of notebook 09. start: run of notebook 08 it began from. kind: of its feature, see `make_head`. selection:
    one of SELECTIONS, or what else it was. weights: file of what it learned."""

    run: str
    start: str
    kind: str
    selection: str
    seed: int
    repeat: int
    weights: Path

    @property
    def feature(self) -> str:
        """Name of its feature: "G", "L" (with weights by ReLU), "L-norm" …, "gem"."""
        return feature_name(self.kind)


@dataclass(frozen=True)
class Bench:
    """One protocol with the networks that learned under it, each restored when first asked for. Features of test images
    are computed once and kept, those of other splits computed anew: all at once would take gigabytes more.

    trunk, init, assignment: what the networks began from.
    """

    protocol: SearchProtocol
    trunk: FrozenTrunk
    init: NetVLADInit
    assignment: str
    networks: tuple[TrainedNetwork, ...]
    device: object
    _models: dict[str, Descriptor] = field(default_factory=dict)
    _of_test: dict[str, RowFeatures] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the protocol."""
        return self.protocol.name

    def model(self, network: TrainedNetwork) -> Descriptor:
        """The network, in eval mode."""
        if network.run not in self._models:
            self._models[network.run] = restore_descriptor(network.weights, network.kind, self.trunk, self.init,
                                                           self.assignment, self.device)
        return self._models[network.run]

    def features(self, network: TrainedNetwork, split: str) -> RowFeatures:
        """Features of a split's images by a network."""
        if split != "test":
            return features_of(self.model(network), self.trunk.maps, self.protocol.splits[split].rows)
        if network.run not in self._of_test:
            self._of_test[network.run] = features_of(self.model(network), self.trunk.maps,
                                                     self.protocol.splits["test"].rows)
        return self._of_test[network.run]

    def features_before(self, feature: str, split: str, maps=None) -> RowFeatures:
        """Features that networks of this name start from, of a split's images. maps: other activations than the
        trunk's, such as those of cropped pictures."""
        head = make_head(feature_kind(feature), self.init, self.assignment)
        model = Descriptor(self.trunk.block, head).to(self.device).eval()
        return features_of(model, self.trunk.maps if maps is None else maps, self.protocol.splits[split].rows)

    def products(self, split: str = "test") -> np.ndarray:
        """Product of each query of a split."""
        return self.protocol.products(split)

    def best(self, feature: str, repeat: int = 0) -> dict[int, TrainedNetwork]:
        """The networks of a feature that learned from the last of SELECTIONS there is, by seed."""
        own = [one for one in self.networks
               if (one.feature, one.repeat) == (feature, repeat) and one.selection in SELECTIONS]
        last = max((SELECTIONS.index(one.selection) for one in own), default=None)
        return {one.seed: one for one in own if SELECTIONS.index(one.selection) == last}


def as_in_table4(table: pd.DataFrame) -> pd.DataFrame:
    """P2 Table 4: one row per protocol, feature and split, one column per selection; mean over seeds ± deviation."""
    def cell(values):
        return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")

    wide = table.groupby(["protocol", "feature", "split", "selection"], sort=False)["value"].agg(cell)
    order = [*dict.fromkeys(s for s in ("pre-trained", *SELECTIONS, *table["selection"]) if s in wide.index.levels[-1])]
    wide = wide.unstack("selection")[order].fillna("").reset_index()
    wide.columns.name = None
    return wide
