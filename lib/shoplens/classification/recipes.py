"""Two ways to train P1's networks, each the same for all variants: as §4.2 says, and as one would today."""

from dataclasses import dataclass

from shoplens.data.images import Augmentation
from shoplens.training import Schedule


@dataclass(frozen=True)
class TrainingRecipe:
    """What a recipe fixes; sizes, rates and lengths are parameters of a run.

    aspect, turn, light: as for `images.Augmentation`. smoothing: share of each label that the loss spreads over all
    classes. shape, nesterov: as for `training.Schedule`.
    """

    aspect: float
    turn: float
    light: float
    smoothing: float
    shape: str
    nesterov: bool

    def augmentation(self, crop: float, mirror: float) -> Augmentation:
        """crop: smallest share of a picture's area. mirror: probability of a flip."""
        return Augmentation(crop, self.aspect, mirror, self.turn, self.light)

    def schedule(self, epochs: int, learning_rate: float, decay_after: list[int], precision: str, seed: int,
                 select: str = "macc") -> Schedule:
        """decay_after: epochs after which a rate that falls in steps drops to a tenth; "one-cycle" needs none."""
        return Schedule(epochs, learning_rate, tuple(decay_after) if self.shape == "steps" else (), select=select,
                        precision=precision, seed=seed, shape=self.shape, nesterov=self.nesterov)


RECIPES = {
    # "random crop, mirror, and deformation", a rate that drops after preset iterations, momentum 0.9 (P1 §4.2)
    "paper": TrainingRecipe(aspect=1.1, turn=0.1, light=0.0, smoothing=0.0, shape="steps", nesterov=False),
    # what the field has found since to cost nothing and help nearly always
    "sound": TrainingRecipe(aspect=4 / 3, turn=0.1, light=0.3, smoothing=0.1, shape="one-cycle", nesterov=True),
}
