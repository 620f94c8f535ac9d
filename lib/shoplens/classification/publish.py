"""What notebooks 02 to 06b publish of a classifier, one line per step; `run` is what their `start_run` returned."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from shoplens.classification import evaluation
from shoplens.classification.evaluation import Gain, Scores
from shoplens.classification.trained import plateau_doubts
from shoplens.data.catalogue import Catalogue


def record_images(run, catalogue: Catalogue, store) -> None:
    """Put into the run's record which images it read (an ImageStore's digest and size) and how they are split."""
    run.provenance("images", {"sha256": store.digest, "size": store.size})
    run.provenance("split_sha256", catalogue.split_hash())


def load_baseline(run, name: str, layer: str, rows: np.ndarray) -> Scores:
    """Scores of the earlier run `name`, to be compared with image by image.

    layer, rows: the layer and the test images (row numbers of the catalogue) of this run. Raises ValueError where the
    baseline has others.
    """
    scores = Scores.load(run.input(name, "scores.npz"))
    if scores.layer != layer or not np.array_equal(scores.rows["test"], rows):
        raise ValueError(f"{name} classified layer {scores.layer!r} of {len(scores.rows['test'])} test images, this "
                         f"run {layer!r} of {len(rows)}, and not the same ones: name a BASELINE of this LAYER and "
                         f"SUBSET, or run {name} again from this catalogue")
    return scores


def publish_scores(run, scores: dict[str, np.ndarray], labels: np.ndarray, *, caption: str, layer: str, subset: str,
                   n_resamples: int, recorded: Collection[str] | None = None) -> pd.DataFrame:
    """Write the variants' test scores with their intervals as the table named after the run, and record them as
    metrics.

    scores: variant → N×C, higher is likelier. labels: N class indices. recorded: variants whose scores become metrics,
    default all; those of an earlier run stand in its own record. Returns `evaluation.evaluate`'s table.
    """
    results = evaluation.evaluate(scores, labels, n_resamples=n_resamples, dataset=run.dataset, profile=run.profile,
                                  subset=subset, seed=run.seed, layer=layer)
    run.table(results, run.id, caption=caption, readable=evaluation.readable(results))
    for r in results.itertuples():
        if recorded is None or r.variant in recorded:
            run.metric(r.metric, r.value, variant=r.variant, k=r.k, split="test", low=r.low, high=r.high)
    return results


def publish_gain(run, hits: np.ndarray, against: np.ndarray, labels: np.ndarray, *, over: str,
                 n_resamples: int) -> Gain:
    """Paired comparison over images (`evaluation.compare`) whose ACC and MACC gains become metrics of the run.

    hits, against: N bools. labels: N class indices. over: what the metrics' names call the other,
    "acc_gain_over_<over>" and "macc_gain_over_<over>".
    """
    gain = evaluation.compare(hits, against, labels, n_resamples)
    for name, interval in (("acc", gain.acc), ("macc", gain.macc)):
        run.metric(f"{name}_gain_over_{over}", interval.value, low=interval.low, high=interval.high)
    return gain


def save_network(run, model, history: pd.DataFrame, scores: Scores, select: str = "macc") -> list[str]:
    """Keep for later runs the weights as model.pt, the training as history.csv and the scores as scores.npz; doubts
    that the network was trained to the end go into the record, which is then not accepted, and come back.

    select: the validation score that chose the epoch.
    """
    import torch  # here: notebook 04 publishes without a network, and torch takes seconds to import

    torch.save(model.state_dict(), run.artefact("model.pt"))
    history.to_csv(run.artefact("history.csv"), index=False)
    scores.save(run.artefact("scores.npz"))
    doubts = plateau_doubts(history, select, len(scores.rows["val"]))
    run.provenance("doubts", doubts)
    return doubts
