"""Hidden checks of coursework 05: the loss of several tasks, and the best leaf in the best root (P1 §3.4, Eq. 5–6)."""

import math

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 05.1: loss_and_grads(logits, labels, lambdas)


def by_loops(logits, labels, lambdas):
    total, grads = 0.0, []
    for s, y, weight in zip(logits, labels, lambdas, strict=True):
        grad = np.zeros(s.shape)
        for n, label in enumerate(y):
            highest = max(s[n])
            exponentials = [math.exp(one - highest) for one in s[n]]
            total += weight * (math.log(sum(exponentials)) + highest - s[n, label]) / len(y)
            for c, one in enumerate(exponentials):
                grad[n, c] = weight * (one / sum(exponentials) - (c == label)) / len(y)
        grads.append(grad)
    return total, grads


def tasks(rng, classes, images=6, scale=1.0, lambdas=None):
    return ([scale * rng.normal(size=(images, c)) for c in classes], [rng.integers(0, c, images) for c in classes],
            list(rng.uniform(0.05, 3, len(classes)) if lambdas is None else lambdas))


def equal_weights(rng):
    return tasks(rng, (3, 5, 8), lambdas=(1.0, 1.0, 1.0))


def uneven_weights(rng):
    return tasks(rng, (4, 7))


def large(rng):
    return tasks(rng, (3, 6), scale=2000.0, lambdas=(1.0, 1.0))


def loss(logits, labels, lambdas, in_grad=True, in_loss=True, tasks_averaged=False, mean=True, safe=True, floor=0.0):
    """The right loss and derivatives, and with other arguments than the defaults wrong ones."""
    total, grads = 0.0, []
    for s, y, weight in zip(logits, labels, lambdas, strict=True):
        rows = np.arange(len(y))
        e = np.exp(s - s.max(axis=1, keepdims=True) * safe)
        p = e / e.sum(axis=1, keepdims=True)
        z = s - s.max(axis=1, keepdims=True)
        log_p = np.log(p + floor) if floor or not safe else z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        count = len(y) if mean else 1
        total += (weight if in_loss else 1) * -log_p[rows, y].sum() / count
        p[rows, y] -= 1
        grads.append((weight if in_grad else 1) * p / count)
    share = len(logits) if tasks_averaged else 1
    return float(total / share), [grad / share for grad in grads]


def wrong(**how):
    return lambda *arguments: loss(*arguments, **how)


def only_two(logits, labels, lambdas):
    return loss(logits[:2], labels[:2], lambdas[:2])


def over_weights(logits, labels, lambdas):
    return loss(logits, labels, [one / sum(lambdas) for one in lambdas])


TOY = ([np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])],
       [np.array([0, 0, 1]), np.array([0, 1, 2])], [0.1, 1.0])
EVERY = (VISIBLE, "tasks", "weights", "large logits")

LOSS = Task(by_loops, (
    Check(VISIBLE, 1, "Three images, two roots and three leaves", calls=(TOY,)),
    Check("tasks", 1, "Any number of tasks adds up, each the mean over its images; tasks are not averaged",
          equal_weights, pure=True),
    Check("weights", 1, "Each task's weight stands before its loss and before its derivative", uneven_weights),
    Check("large logits", 1, "Logits in the thousands give a large loss, not infinity and not a capped one", large)), (
    Mutant("λ missing in the gradient", wrong(in_grad=False), (VISIBLE, "weights")),
    Mutant("λ missing in the loss", wrong(in_loss=False), (VISIBLE, "weights")),
    Mutant("tasks averaged", wrong(tasks_averaged=True), EVERY),
    Mutant("divided by the sum of the weights", over_weights, EVERY),
    Mutant("sum over images", wrong(mean=False), EVERY),
    Mutant("overflow", wrong(safe=False), ("large logits",)),
    Mutant("logarithm kept from 0 by a small number", wrong(floor=1e-9), ("large logits",)),
    Mutant("two tasks, written out", only_two, ("tasks",)),
    Mutant("the gradient's sign", lambda *a: (loss(*a)[0], [-grad for grad in loss(*a)[1]]), EVERY)))


# 05.2: leaf_in_root(root, leaf, parent)

def best_by_loops(root, leaf, parent):
    found = []
    for n in range(len(root)):
        best = min(range(root.shape[1]), key=lambda r, n=n: (-root[n, r], r))
        below = [one for one in range(leaf.shape[1]) if parent[one] == best]
        found.append(min(below, key=lambda one, n=n: (-leaf[n, one], one)))
    return np.array(found)


def two_answers(rng, roots=4, leaves=11, shift=0.0):
    parent = rng.permutation(np.concatenate([np.arange(roots), rng.integers(0, roots, leaves - roots)]))
    return rng.normal(size=(30, roots)), rng.normal(size=(30, leaves)) + shift, parent


def negative(rng):
    root, leaf, parent = two_answers(rng, shift=-20.0)
    return root, leaf, parent


def tied(rng):
    root, leaf, parent = two_answers(rng)
    leaf = np.sign(leaf)
    for n in range(5):      # below the best root, everything may be ruled out
        leaf[n, parent == np.round(root[n]).argmax()] = -np.inf
    return np.round(root), leaf, parent


def masked(off):
    def program(root, leaf, parent):
        return off(leaf, parent == root.argmax(axis=1)[:, None]).argmax(axis=1)
    return program


def product(root, leaf, parent):
    p = [np.exp(s - s.max(axis=1, keepdims=True)) for s in (root, leaf)]
    return (p[0][:, parent] * p[1]).argmax(axis=1)


def position_below(root, leaf, parent):
    return np.array([leaf[n, parent == root[n].argmax()].argmax() for n in range(len(leaf))])


def last_of_equals(root, leaf, parent):
    return leaf.shape[1] - 1 - best_by_loops(root, leaf[:, ::-1], parent[::-1])


def sorted_parents(root, leaf, parent):
    """Takes the leaves of a root to stand side by side."""
    order = np.sort(parent)
    return best_by_loops(root, leaf, order)


INSIDE = Task(best_by_loops, (
    Check(VISIBLE, 1, "The root is sure of 1, so the answer is leaf 1", calls=(
        (np.array([[0.0, 3.0]]), np.array([[1.0, 0.8, -1.0]]), np.array([0, 1, 1])),)),
    Check("negative scores", 1, "A leaf below another root is out, whatever its score: scores may all be negative",
          negative, pure=True),
    Check("equal and infinite scores", 1, "Equal scores: the smaller number; a leaf at minus infinity still lies below "
          "its root", tied, cases=6)), (
    Mutant("masking by ×0", masked(lambda leaf, on: leaf * on), ("negative scores", "equal and infinite scores")),
    Mutant("masking by −1e3 added", masked(lambda leaf, on: leaf - 1e3 * ~on), ("equal and infinite scores",)),
    Mutant("masking by −∞", masked(lambda leaf, on: np.where(on, leaf, -np.inf)), ("equal and infinite scores",)),
    Mutant("the best leaf, root ignored", lambda root, leaf, parent: leaf.argmax(axis=1),
           (VISIBLE, "negative scores", "equal and infinite scores")),
    Mutant("product of both probabilities", product, ("negative scores", "equal and infinite scores")),
    Mutant("the place among the root's leaves", position_below,
           (VISIBLE, "negative scores", "equal and infinite scores")),
    Mutant("the last of equals", last_of_equals, ("equal and infinite scores",)),
    Mutant("leaves taken as sorted by root", sorted_parents, ("negative scores", "equal and infinite scores"))))


TASKS = {"05.1": LOSS, "05.2": INSIDE}
