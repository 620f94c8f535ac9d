"""What the bazaar sells: its roots and leaves, how common they are, and the attribute states a leaf tends to have."""

from __future__ import annotations

from dataclasses import dataclass, field

COLOURS = ("beige", "black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
PATTERNS = ("animal", "checks", "dots", "floral", "plain", "print", "stripes")
SLEEVES = ("elbow", "long", "short", "sleeveless")
PANTS = ("cropped", "knee", "long", "short")
SHAPES = ("cat-eye", "loose", "pointed", "regular", "round", "slender", "slim", "square", "stout", "trapezoid")

STATES = {
    "shape": SHAPES,
    "pants_length": PANTS,
    "sleeve_length": SLEEVES,
    "pattern": PATTERNS,
    "colour": COLOURS,
}

# Share of items whose seller filled in the attribute, where it applies: sparse, as on a real market place.
LABELLED = {"shape": 0.14, "pants_length": 0.40, "sleeve_length": 0.26, "pattern": 0.13, "colour": 0.30}

_CLOTH = {"plain": 5, "stripes": 2, "checks": 2, "dots": 1, "floral": 1, "print": 1, "animal": 0.4}
_FIT = {"slim": 3, "regular": 4, "loose": 3}
_TOE = {"pointed": 2, "round": 5, "square": 2}
_BAG = {"square": 4, "round": 2, "trapezoid": 3}
_BOTTLE = {"slender": 4, "stout": 3}
_EDGE = {"round": 4, "square": 4}
_ANY = dict.fromkeys(COLOURS, 1.0)


def _tilt(base: dict[str, float], **factors: float) -> dict[str, float]:
    return {state: weight * factors.get(state, 1.0) for state, weight in base.items()}


def _only(**weights: float) -> dict[str, float]:
    return weights


@dataclass(frozen=True)
class Leaf:
    """A class of the second layer. `states`: attribute -> weight of each state; absent: does not apply."""

    name: str
    root: str
    states: dict[str, dict[str, float]] = field(hash=False)


def _garment(name, root, sleeves, pattern=None, colour=None, shape=None) -> Leaf:
    return Leaf(name, root, {"shape": shape or _FIT, "sleeve_length": sleeves, "pattern": pattern or _CLOTH,
                             "colour": colour or _ANY})


def _pants(name, lengths, pattern=None, colour=None, shape=None) -> Leaf:
    return Leaf(name, "pants", {"shape": shape or _FIT, "pants_length": lengths, "pattern": pattern or _CLOTH,
                                "colour": colour or _ANY})


def _goods(name, root, shape=None, pattern=None, colour=None) -> Leaf:
    states = {"shape": shape, "pattern": pattern, "colour": colour or _ANY}
    return Leaf(name, root, {key: value for key, value in states.items() if value})


_DARK = _tilt(_ANY, black=4, grey=2, brown=2, blue=2, beige=2)
_LEATHER = _tilt(_ANY, black=4, brown=4, beige=2, white=1.5)
_DENIM = _tilt(_ANY, blue=14, black=4, white=2, grey=3)
_LIPS = _tilt(_ANY, red=6, pink=5, orange=2, purple=2, brown=2)
_PLAINISH = _tilt(_CLOTH, plain=3)

# From the most to the least frequent: the order is the long tail, and mixes roots as a market place does.
LEAVES: tuple[Leaf, ...] = (
    _garment("t-shirt", "top", _only(short=8, elbow=2, long=2, sleeveless=0.5), _tilt(_CLOTH, print=5)),
    _pants("jeans", _only(long=8, cropped=3, knee=1), _tilt(_CLOTH, plain=8), _DENIM),
    _goods("sneaker", "shoes", _tilt(_TOE, round=3), _PLAINISH, _tilt(_ANY, white=4, black=3)),
    _garment("a-line dress", "dress", _only(sleeveless=4, short=4, elbow=2, long=2), _tilt(_CLOTH, floral=4, dots=2)),
    _goods("tote", "bag", _BAG, _CLOTH, _LEATHER),
    _garment("down jacket", "coat", _only(long=10, sleeveless=2), _tilt(_CLOTH, plain=3), _DARK),
    _goods("lipstick", "makeup", _EDGE, None, _LIPS),
    _garment("dress shirt", "top", _only(long=6, short=3, elbow=1), _tilt(_CLOTH, stripes=3, checks=3),
             _tilt(_ANY, white=5, blue=4)),
    _goods("wristwatch", "jewellery watch glasses", _EDGE, None, _LEATHER),
    _goods("ankle boot", "shoes", _TOE, _PLAINISH, _LEATHER),
    _garment("shirt dress", "dress", _only(long=3, short=4, elbow=3), _tilt(_CLOTH, stripes=3, checks=2)),
    _goods("satchel", "bag", _BAG, _PLAINISH, _LEATHER),
    _goods("thermos", "drink bottle", _BOTTLE, _PLAINISH),
    _pants("leggings", _only(long=6, cropped=4, knee=2), None, _DARK, _tilt(_FIT, slim=5, loose=0.1)),
    _goods("pump", "shoes", _tilt(_TOE, pointed=4), _PLAINISH, _tilt(_LEATHER, red=3)),
    _garment("sweater", "top", _only(long=8, elbow=2, short=1), _tilt(_CLOTH, stripes=2, print=2)),
    _goods("sofa", "furniture", _EDGE, _PLAINISH, _tilt(_DARK, beige=2)),
    _garment("hoodie", "coat", _only(long=8, short=2, sleeveless=1), _tilt(_CLOTH, print=5, floral=0.2)),
    _goods("backpack", "bag", _BAG, _CLOTH, _tilt(_ANY, black=3, blue=2)),
    _goods("sunglasses", "jewellery watch glasses", _only(round=3, square=4, **{"cat-eye": 2}), None,
           _tilt(_ANY, black=5, brown=3)),
    _goods("sandal", "shoes", _tilt(_TOE, square=2), _PLAINISH, _LEATHER),
    _pants("wide-leg pants", _only(long=6, cropped=5, knee=1), _tilt(_CLOTH, floral=2), None, _tilt(_FIT, loose=3)),
    _garment("trench coat", "coat", _only(long=10, elbow=1), _tilt(_CLOTH, plain=4, checks=2), _tilt(_DARK, beige=3)),
    _goods("sports bottle", "drink bottle", _BOTTLE, _PLAINISH),
    _goods("nail polish", "makeup", _EDGE, None, _LIPS),
    _garment("slip dress", "dress", _only(sleeveless=9, short=1), _tilt(_CLOTH, floral=3), None, _tilt(_FIT, slim=2)),
    _garment("polo shirt", "top", _only(short=8, long=3, elbow=1), _tilt(_CLOTH, stripes=3)),
    _goods("high boot", "shoes", _TOE, _PLAINISH, _LEATHER),
    _goods("armchair", "furniture", _EDGE, _CLOTH, _tilt(_DARK, beige=2)),
    _goods("necklace", "jewellery watch glasses", _EDGE, None, _tilt(_ANY, yellow=3, white=3)),
    _goods("clutch", "bag", _BAG, _PLAINISH, _LEATHER),
    _pants("shorts", _only(short=7, knee=5), _tilt(_CLOTH, checks=2, floral=2)),
    _garment("blazer", "coat", _only(long=9, elbow=2), _tilt(_CLOTH, plain=3, checks=3), _DARK),
    _goods("eyeglasses", "jewellery watch glasses", _only(round=4, square=4, **{"cat-eye": 2}), None,
           _tilt(_ANY, black=5, brown=2)),
    _garment("tank top", "top", _only(sleeveless=1)),
    _goods("compact", "makeup", _EDGE, None, _tilt(_ANY, pink=3, black=3, beige=2)),
    _goods("stool", "furniture", _EDGE, _PLAINISH, _tilt(_ANY, brown=4, beige=3)),
    _goods("rain boot", "shoes", _TOE, _CLOTH, _tilt(_ANY, yellow=3, green=3)),
    _garment("sheath dress", "dress", _only(sleeveless=4, short=3, elbow=2, long=2), _PLAINISH, None,
             _tilt(_FIT, slim=3)),
    _goods("tumbler", "drink bottle", _BOTTLE, _CLOTH),
    _goods("mascara", "makeup", _EDGE, None, _tilt(_ANY, black=5, pink=2, purple=2)),
    _goods("bucket bag", "bag", _BAG, _PLAINISH, _LEATHER),
    _goods("table", "furniture", _EDGE, None, _tilt(_ANY, brown=5, beige=4, white=3)),
)

BY_NAME = {leaf.name: leaf for leaf in LEAVES}
ROOTS = tuple(sorted({leaf.root for leaf in LEAVES}))


def leaf_counts(total: int, minimum: int, exponent: float = 0.85) -> list[int]:
    """Items per leaf, in LEAVES order: a power law 1/rank**exponent, at least `minimum` each; they sum to `total`.

    Raises ValueError when `total` cannot give every leaf its minimum.
    """
    if minimum * len(LEAVES) > total:
        raise ValueError(f"bazaar: {total} items cannot give {len(LEAVES)} leaves {minimum} each; "
                         f"ask for at least {minimum * len(LEAVES)} items or lower the minimum")
    weights = [1 / rank**exponent for rank in range(1, len(LEAVES) + 1)]
    free = total - minimum * len(LEAVES)
    exact = [free * weight / sum(weights) for weight in weights]
    counts = [minimum + int(share) for share in exact]
    by_rest = sorted(range(len(LEAVES)), key=lambda i: (int(exact[i]) - exact[i], i))
    for i in by_rest[: total - sum(counts)]:
        counts[i] += 1
    return counts
