"""Features in fewer dimensions: PCA with whitening (P2 §5.8)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Whitening:
    """PCA with whitening: x → (x − mean) · projection, to unit length. mean: D. projection: D×d, both float32."""

    mean: np.ndarray
    projection: np.ndarray

    @classmethod
    def fit(cls, sample: np.ndarray, dimensions: int, floor: float = 1e-9, fewer: bool = False) -> "Whitening":
        """Learn from M features of D dimensions, M > dimensions.

        Where D > M the M×M products of the features are decomposed instead of the D×D covariance (the dual form):
        the same directions at a cost that does not grow with D². floor: added to each variance before its root.
        Where the sample cannot give so many directions: as many as it gives, with `fewer`, else ValueError.
        """
        count, width = sample.shape
        if dimensions > min(count - 1, width) and not fewer:
            raise ValueError(f"{count} features of {width} dimensions give at most {min(count - 1, width)} directions, "
                             f"asked for {dimensions}: take more features or fewer dimensions")
        mean = sample.mean(axis=0, dtype=np.float64)
        centred = (sample - mean).astype(np.float32)
        dual = width > count
        products = (centred @ centred.T if dual else centred.T @ centred).astype(np.float64) / (count - 1)
        variance, vectors = np.linalg.eigh(products)
        variance, vectors = variance[::-1], vectors[:, ::-1]
        spread = int((variance > 1e-6 * variance[0]).sum())     # less is rounding, and may be negative
        if dimensions > spread and not fewer:
            raise ValueError(f"{count} features spread along {spread} directions only, asked for {dimensions}: take "
                             f"more, or more different, features or fewer dimensions")
        dimensions = min(dimensions, spread)
        variance, vectors = variance[:dimensions], vectors[:, :dimensions]
        if dual:    # from the eigenvectors of X Xᵀ to those of Xᵀ X, unit length again
            vectors = centred.T @ (vectors / np.sqrt(variance * (count - 1)))
        return cls(mean.astype(np.float32), (vectors / np.sqrt(variance + floor)).astype(np.float32))

    def apply(self, features: np.ndarray, dimensions: int | None = None) -> np.ndarray:
        """Float32 N×d of unit length; with `dimensions`, of the first (strongest) so many directions only."""
        projected = (np.asarray(features, np.float32) - self.mean) @ self.projection[:, :dimensions]
        return projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)

    def save(self, file: Path) -> None:
        """Plain arrays in one .npz."""
        np.savez(file, mean=self.mean, projection=self.projection)

    @classmethod
    def load(cls, file: Path) -> "Whitening":
        """Read what `save` wrote."""
        with np.load(file) as arrays:
            return cls(arrays["mean"], arrays["projection"])
