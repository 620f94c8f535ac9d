"""Hidden checks of coursework 10: intervals over products, whitening, and a blend of two features (P2 §5.6–5.8)."""

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 10.1: interval(ap_a, ap_b, item, picks)


def interval_by_loops(ap_a, ap_b, item, picks):
    of = {}
    for a, b, product in zip(ap_a, ap_b, item.tolist(), strict=True):
        if not np.isnan(a) and not np.isnan(b):
            of.setdefault(product, []).append(a - b)
    products, means = sorted(of), []
    for pick in picks:
        drawn = [difference for position in pick for difference in of[products[position]]]
        means.append(sum(drawn) / len(drawn))
    return tuple(np.quantile(means, [0.025, 0.975]))


def queries(rng, sizes, unknown=0):
    item = rng.permutation(np.repeat(rng.permutation(50)[:len(sizes)], sizes))
    effect = rng.normal(0, 0.2, 50)[item]
    a, b = np.clip(0.5 + effect + rng.normal(0, 0.05, len(item)), 0, 1), rng.uniform(0.3, 0.5, len(item))
    return a, b, item, rng.integers(0, len(sizes), (400, len(sizes)))


def even(rng):
    return queries(rng, [4] * 8)


def uneven(rng):
    return queries(rng, [1, 1, 2, 3, 5, 15])


def with_gaps(rng):
    """Some queries are unknown to one of the features, and one product (neither first nor last) altogether."""
    a, b, item, _ = queries(rng, [4] * 9)
    a[rng.integers(0, 36)], b[rng.integers(0, 36)] = np.nan, np.nan
    b[item == np.sort(np.unique(item))[4]] = np.nan
    for product in np.unique(item):
        members = np.flatnonzero(item == product)
        if np.isnan(a - b)[members].all() and product != np.sort(np.unique(item))[4]:
            a[members], b[members] = 0.5, 0.4
    return a, b, item, rng.integers(0, 8, (400, 8))


def draws_queries(a, b, item, picks):
    difference = (a - b)[~np.isnan(a - b)]
    rng = np.random.default_rng(0)
    means = difference[rng.integers(0, len(difference), (len(picks), len(difference)))].mean(axis=1)
    return tuple(np.quantile(means, [0.025, 0.975]))


def mean_of_product_means(a, b, item, picks):
    known = ~np.isnan(a - b)
    means = np.array([(a - b)[known & (item == one)].mean() for one in np.unique(item[known])])
    return tuple(np.quantile(means[picks].mean(axis=1), [0.025, 0.975]))


def of_known(a, b, item, picks, levels=(0.025, 0.975), zero=False, all_items=False, normal=False, sort=True, flip=1):
    """The right bounds, and with other arguments than the defaults wrong ones."""
    difference = np.nan_to_num(flip * (a - b)) if zero else flip * (a - b)
    known = ~np.isnan(difference)
    products = np.unique(item) if all_items or zero else np.unique(item[known])
    if not sort:
        products = np.array(list(dict.fromkeys(item[known].tolist())))
    total = np.array([np.nansum(difference[item == one]) for one in products])
    count = np.array([(known & (item == one)).sum() for one in products])
    means = total[picks].sum(axis=1) / count[picks].sum(axis=1)
    if normal:
        return means.mean() - means.std(), means.mean() + means.std()
    return tuple(np.quantile(means, levels))


def other(**how):
    return lambda *arguments: of_known(*arguments, **how)


INTERVAL = Task(interval_by_loops, (
    Check(VISIBLE, 1, "Product 7 twice and product 9 once", calls=(
        (np.array([0.5, 0.7, 0.2, 0.9, 0.4]), np.array([0.4, 0.4, 0.4, 0.5, 0.4]), np.array([3, 7, 7, 9, 3]),
         np.array([[1, 1, 2]])),)),
    Check("products", 1, "Products are drawn with all their queries, and the mean is over queries: sizes differ",
          (uneven, even), pure=True),
    Check("unknown queries", 1, "A query that one feature cannot score is left out, and a product without queries with "
          "it", with_gaps)), (
    Mutant("queries drawn", draws_queries, (VISIBLE, "products", "unknown queries")),
    Mutant("mean of product means", mean_of_product_means, (VISIBLE, "products", "unknown queries")),
    Mutant("a 90 % interval", other(levels=(0.05, 0.95)), ("products", "unknown queries")),
    Mutant("one deviation to each side", other(normal=True), ("products", "unknown queries")),
    Mutant("unknown counts as 0", other(zero=True), ("unknown queries",)),
    Mutant("products without queries stay", other(all_items=True), ("unknown queries",)),
    Mutant("products in order of arrival", other(sort=False), ("products", "unknown queries")),
    Mutant("b less a", other(flip=-1), (VISIBLE, "products", "unknown queries"))))


# 10.2: whiten(S, X, d)

def whiten_by_covariance(S, X, d):
    """By singular values of the sample; for judging up to signs."""
    mean = S.mean(axis=0)
    _, singular, rows = np.linalg.svd(S - mean, full_matrices=False)
    y = (X - mean) @ rows[:d].T / (singular[:d] / np.sqrt(len(S) - 1))
    return y / np.sqrt((y**2).sum(axis=1, keepdims=True))


def whitened(value, S, X, d):
    expected = whiten_by_covariance(S, X, d)
    value = np.asarray(value, float)
    if value.shape != expected.shape:
        return False
    sign = np.sign((value * expected).sum(axis=0))
    return bool(np.allclose(value * sign, expected, atol=1e-5))


def features(rng, dimensions=40, sample=9, queries=12, d=5, shift=3.0):
    spread = np.linspace(4, 0.5, dimensions)
    return (rng.normal(size=(sample, dimensions)) * spread + shift,
            rng.normal(size=(queries, dimensions)) * spread + shift + 1, d)


def wide(rng):
    return features(rng, 20_000, 8, 2, 4)


def white(S, X, d, own_mean=False, centre=True, divide=1, unit=True, weakest=False, dual=True, scale=1):
    """The right features, and with other arguments than the defaults wrong ones."""
    mean = S.mean(axis=0) * centre
    _, singular, rows = np.linalg.svd(S - mean, full_matrices=False)
    keep = slice(len(S) - 1 - d, len(S) - 1) if weakest else slice(0, d)
    rows, singular = (rows[keep][::-1], singular[keep][::-1]) if weakest else (rows[keep], singular[keep])
    y = (X - (X.mean(axis=0) if own_mean else mean)) @ rows.T / singular**divide
    return y / np.linalg.norm(y, axis=1, keepdims=True) if unit else y * np.sqrt(len(S) - 1)


def pale(**how):
    return lambda S, X, d: white(S, X, d, **how)


def by_covariance(S, X, d):
    if S.shape[1] > 5000:
        raise MemoryError
    return white(S, X, d)


def full_rotation(S, X, d):
    """Whitened and turned back: the right distances, the wrong directions."""
    y = white(S, X, d, unit=False)
    turn = np.linalg.qr(np.arange(d * d).reshape(d, d) % 7 + np.eye(d))[0]
    return (y / np.linalg.norm(y, axis=1, keepdims=True)) @ turn


def tetrahedron(value, S, X, d):
    value = np.asarray(value, float)
    return value.shape == (4, 3) and bool(np.allclose(value @ value.T, np.where(np.eye(4), 1, -1 / 3)))


TETRA = np.random.default_rng(0).normal(size=(4, 6)) * [5, 3, 1, 1, 1, 1]

WHITEN = Task(None, (
    Check(VISIBLE, 1, "Four points in three whitened directions are the corners of a tetrahedron",
          calls=((TETRA, TETRA, 3),), judge=tetrahedron),
    Check("other images", 1, "Mean and directions are the sample's, also for other images; each direction is divided "
          "by its deviation, the strongest first, then rows are brought to unit length", features, judge=whitened,
          pure=True),
    Check("many dimensions", 1, "With 20,000 dimensions a D×D matrix does not fit: work on the M×M products", wide,
          cases=2, judge=whitened)), (
    Mutant("own mean for queries", pale(own_mean=True), ("other images", "many dimensions")),
    Mutant("uncentred", pale(centre=0), (VISIBLE, "other images", "many dimensions")),
    Mutant("PCA without whitening", pale(divide=0), (VISIBLE, "other images", "many dimensions")),
    Mutant("divided by the variance", pale(divide=2), (VISIBLE, "other images", "many dimensions")),
    Mutant("no unit length", pale(unit=False), (VISIBLE, "other images", "many dimensions")),
    Mutant("the weakest directions", pale(weakest=True), ("other images", "many dimensions")),
    Mutant("directions mixed", full_rotation, ("other images", "many dimensions")),
    Mutant("the D×D covariance", by_covariance, ("many dimensions",))))


# 10.3: blend_weight(D_L, D_G, relevant, test)

def mean_ap(D, relevant):
    scores = []
    for far, right in zip(D, relevant, strict=True):
        order = sorted(range(len(far)), key=lambda i, far=far: (far[i], i))
        found, total = 0, 0.0
        for place, i in enumerate(order, start=1):
            if right[i]:
                found += 1
                total += found / place
        scores.append(total / found)
    return sum(scores) / len(scores)


def weight_by_loops(D_L, D_G, relevant, test, pick=None, use=None):
    use = ~test if use is None else use
    scores = [round(mean_ap(w / 10 * D_L[use] + (1 - w / 10) * D_G[use], relevant[use]), 12) for w in range(11)]
    return (scores.index(max(scores)) if pick is None else pick(scores)) / 10


def two_features(rng):
    """Queries whose best weight is small, and test queries whose best weight is large."""
    relevant = np.zeros((16, 30), bool)
    for row in relevant:
        row[rng.permutation(30)[:4]] = True
    test = rng.permutation(16) < 6
    noise_l, noise_g = np.where(test, 0.3, 1.2)[:, None], np.where(test, 1.5, 0.6)[:, None]
    D_L, D_G = (1 - 0.6 * relevant + noise * rng.normal(size=relevant.shape) for noise in (noise_l, noise_g))
    return D_L - D_L.min(), D_G - D_G.min(), relevant, test


def clear(rng):
    """A draw in which choosing on test, on all queries, or the last of equals gives another weight."""
    while True:
        case = two_features(rng)
        test, right = case[3], weight_by_loops(*case)
        wrong = {weight_by_loops(*case, use=test), weight_by_loops(*case, use=np.ones(16, bool)),
                 weight_by_loops(case[1], case[0], *case[2:]), 0.5, 0.0, 1.0}
        if right not in wrong:
            return case


def many_best(rng):
    """Both features rank alike: every weight is best."""
    D_L, _, relevant, test = two_features(rng)
    return D_L, 2 * D_L, relevant, test


BLEND = Task(weight_by_loops, (
    Check(VISIBLE, 1, "Where the second feature alone ranks right, the weight of the first is 0", calls=(
        (1 - np.array([[0.1, 0.9, 0.8], [0.7, 0.2, 0.9]]), np.array([[0.1, 0.9, 0.8], [0.7, 0.2, 0.9]]),
         np.array([[True, False, False], [False, True, False]]), np.array([False, False])),)),
    Check("chosen", 1, "Queries for testing must not choose; of equally good weights the smallest is taken",
          (clear, many_best), pure=True)), (
    Mutant("chosen on test", lambda L, G, r, test: weight_by_loops(L, G, r, test, use=test if test.any() else ~test),
           ("chosen",)),
    Mutant("chosen on all queries", lambda L, G, r, test: weight_by_loops(L, G, r, test & False), ("chosen",)),
    Mutant("the largest of equals", lambda L, G, r, test: weight_by_loops(
        L, G, r, test, lambda scores: 10 - scores[::-1].index(max(scores))), (VISIBLE, "chosen")),
    Mutant("the weight of the other feature", lambda L, G, r, test: weight_by_loops(G, L, r, test),
           (VISIBLE, "chosen")),
    Mutant("the worst weight", lambda L, G, r, test: weight_by_loops(L, G, r, test, lambda s: s.index(min(s))),
           (VISIBLE, "chosen")),
    Mutant("one half", lambda L, G, r, test: 0.5, (VISIBLE, "chosen"))))


TASKS = {"10.1": INTERVAL, "10.2": WHITEN, "10.3": BLEND}
