"""Hidden checks of coursework 02: MACC, the k best, and where ACC and MACC part (P1 §4.1)."""

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

TRUTH = np.array([0] * 8 + [1] * 2)


# 02.1: macc(correct, y)

def macc_by_loops(correct, y):
    shares = []
    for c in sorted(set(y.tolist())):
        members = [n for n in range(len(y)) if y[n] == c]
        shares.append(sum(bool(correct[n]) for n in members) / len(members))
    return sum(shares) / len(shares)


def answered(rng, classes, images=40):
    """Right or wrong, more often right for larger class numbers, and labels that all occur, of uneven classes."""
    y = rng.permutation(np.concatenate([classes, rng.choice(classes, images, p=np.arange(1, len(classes) + 1)
                                                            / np.arange(1, len(classes) + 1).sum())]))
    return rng.random(len(y)) < 0.2 + 0.6 * y / y.max(), y


def with_gaps(rng):
    return answered(rng, np.array([0, 2, 3, 7]))


def many_classes(rng):
    return answered(rng, np.arange(6))


def over_all_numbers(correct, y):
    return float(np.mean([correct[y == c].mean() if (y == c).any() else 0.0 for c in range(y.max() + 1)]))


def empty_is_nan(correct, y):
    return float(np.mean([correct[y == c].sum() / np.float64((y == c).sum()) for c in range(y.max() + 1)]))


def two_classes(correct, y):
    return float((correct[y == 0].mean() + correct[y == 1].mean()) / 2) if (y == 1).any() else float("nan")


MACC = Task(macc_by_loops, (
    Check(VISIBLE, 1, "Eight boots right and two sandals wrong are 0.5", calls=((TRUTH == 0, TRUTH),)),
    Check("gaps", 1, "A class without an image is left out of the mean: it is neither 0 nor undefined", with_gaps),
    Check("classes", 1, "Every class counts once, however many classes and images there are", many_classes,
          pure=True)), (
    Mutant("a class without images counts as 0", over_all_numbers, ("gaps",)),
    Mutant("a class without images is NaN", empty_is_nan, ("gaps",)),
    Mutant("two classes, written out", two_classes, ("gaps", "classes")),
    Mutant("ACC", lambda correct, y: float(np.mean(correct)), (VISIBLE, "gaps", "classes")),
    Mutant("divides by the largest class number", lambda correct, y: sum(
        correct[y == c].mean() for c in np.unique(y)) / max(y.max(), 1), (VISIBLE, "gaps", "classes")),
    Mutant("the smallest class alone", lambda correct, y: float(min(
        (int((y == c).sum()), c, correct[y == c].mean()) for c in np.unique(y))[2]), (VISIBLE, "gaps", "classes"))))


# 02.2: top_k(s, y, k)

def top_k_by_sorting(s, y, k):
    hits = []
    for row, label in zip(s.tolist(), y.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        hits.append(label in order[:k])
    return np.array(hits, bool)


def with_ties(rng):
    """Scores of which many are equal, some minus infinity, and a k below the number of classes."""
    s = rng.integers(0, 3, (60, 6)).astype(float)
    s[rng.random(s.shape) < 0.1] = -np.inf
    return s, rng.integers(0, 6, 60), int(rng.integers(2, 4))


def best_first(s, y, k):
    return (s > s[np.arange(len(y)), y][:, None]).sum(axis=1) < k


def best_last(s, y, k):
    return (s >= s[np.arange(len(y)), y][:, None]).sum(axis=1) <= k


def later_class_first(s, y, k):
    order = np.argsort(s, axis=1, kind="stable")[:, ::-1]
    return (order[:, :k] == y[:, None]).any(axis=1)


def sorts_in_place(s, y, k):
    right = top_k_by_sorting(s, y, k)
    s.sort(axis=1)
    return right


TOP_K = Task(top_k_by_sorting, (
    Check(VISIBLE, 1, "The lazy classifier is right for boots alone; among two classes' two best is every label",
          calls=tuple((np.tile([1.0, 0.0], (10, 1)), TRUTH, k) for k in (1, 2))),
    Check("ties", 1, "Equal scores rank by class number, k of them count, and the scores stay as they are", with_ties,
          pure=True)), (
    Mutant("equal scores all hit", best_first, ("ties",)),
    Mutant("equal scores all miss", best_last, ("ties",)),
    Mutant("the later class first", later_class_first, ("ties",)),
    Mutant("k ignored", lambda s, y, k: s.argmax(axis=1) == y, (VISIBLE, "ties")),
    Mutant("k + 1 places", lambda s, y, k: top_k_by_sorting(s, y, k + 1), (VISIBLE, "ties")),
    Mutant("the k worst", lambda s, y, k: top_k_by_sorting(-s, y, k), (VISIBLE, "ties")),
    Mutant("sorts the scores in place", sorts_in_place, ("ties",)),
    Mutant("the best class instead of hits", lambda s, y, k: s.argmax(axis=1), (VISIBLE, "ties"))))


# 02.3: disagree(images, classes)

def shaped(value, images, classes):
    y, a, b = (np.asarray(one) for one in value)
    return (y.shape == a.shape == b.shape == (images,) and set(y.tolist()) == set(range(classes))
            and set(a.tolist()) | set(b.tolist()) <= set(range(classes))), y, a, b


def better_in_acc(value, images, classes):
    good, y, a, b = shaped(value, images, classes)
    return good and (a == y).mean() > (b == y).mean()


def disagrees(value, images, classes):
    good, y, a, b = shaped(value, images, classes)
    return good and (a == y).mean() > (b == y).mean() and macc_by_loops(a == y, y) < macc_by_loops(b == y, y)


def some_size(rng):
    classes = int(rng.integers(2, 7))
    return int(rng.integers(2 * classes + 1, 40)), classes


def lazy_for(images, classes, truth_of_b=True):
    y = np.minimum(np.arange(images), classes - 1)[::-1].copy()
    return y, np.full(images, classes - 1), y if truth_of_b else np.zeros(images, int)


def swapped(images, classes):
    y = np.zeros(images, int)
    y[:classes - 1] = np.arange(1, classes)
    b = y.copy()
    b[classes - 1:2 * classes - 1] = 1
    return y, b, np.zeros(images, int)


def always_two(images, classes):
    return swapped(images, 2)[0], np.zeros(images, int), swapped(images, 2)[1]


def too_few_wrong(images, classes):
    """Right for two classes: a is wrong once, b twice; for more, b is wrong less often than a."""
    y = np.zeros(images, int)
    y[:classes - 1] = np.arange(1, classes)
    b = y.copy()
    b[classes - 1:classes + 1] = 1
    return y, np.zeros(images, int), b


def balanced(images, classes):
    y = np.arange(images) % classes
    a, b = y.copy(), y.copy()
    a[:1], b[:2] = (a[:1] + 1) % classes, (b[:2] + 1) % classes
    return y, a, b


DISAGREE = Task(None, (
    Check(VISIBLE, 1, "With your numbers, every class occurs and a has the higher ACC", numbers=("IMAGES", "CLASSES"),
          judge=better_in_acc),
    Check("any size", 1, "For any number of images and classes, a must win in ACC and b in MACC: a may be wrong only "
          "where that costs few images and many classes", some_size, cases=8, judge=disagrees)), (
    Mutant("a and b swapped", swapped, (VISIBLE, "any size")),
    Mutant("b is right everywhere", lazy_for, (VISIBLE, "any size")),
    Mutant("b is worse in both", lambda images, classes: lazy_for(images, classes, False), ("any size",)),
    Mutant("never more than two classes", always_two, ("any size",)),
    Mutant("b errs twice, whatever the number of classes", too_few_wrong, ("any size",)),
    Mutant("classes of equal size", balanced, ("any size",)),
    Mutant("a list of one image each", lambda images, classes: ([0], [0], [0]), (VISIBLE, "any size"))))


TASKS = {"02.1": MACC, "02.2": TOP_K, "02.3": DISAGREE}
