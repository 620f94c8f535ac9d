"""tolerances.yml as data: what each column of a table is, and how far two of its numbers may lie apart."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from shoplens.errors import StudyError
from shoplens.paths import root
from shoplens.strict_yaml import read_yaml

ROLES = ("keys", "machine", "given", "noted", "derived")
RULES = {"mean": {"of"}, "count": set(), "interval": {"of", "at_least"}, "within": {"of"}, "follows": {"of", "times"}}
LIMITS = ("numerical", "statistical", "tables")     # what else than columns stands in tolerances.yml
NORMAL_95 = 1.96        # half the width of a 95 % interval, in standard errors


def numbers(column: pd.Series) -> np.ndarray:
    """A column of text as floats; NaN where a cell holds no number."""
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


@dataclass(frozen=True)
class Tolerances:
    """What tolerances.yml says of one table.

    roles: {column: one of ROLES, or "scores"}. rules: {column of scores: its rule}. relative, absolute: of the
    numerical agreement. z: standard deviations of the statistical one. counts_as: {metric: share of n}.
    """

    roles: dict[str, str]
    rules: dict[str, dict]
    relative: float
    absolute: float
    z: float
    counts_as: dict[str, float]

    def near(self, reference: np.ndarray) -> np.ndarray:
        """Deviation of each number that rounding may explain."""
        return self.absolute + self.relative * np.abs(reference)

    def far(self, column: str, reference: pd.DataFrame, yours: pd.DataFrame) -> np.ndarray:
        """Deviation of each number of `column` that another network may explain.

        reference, yours: tables of text with the same rows in the same order. KeyError names a column that the rule
        needs and the tables lack.
        """
        rule = self.rules[column]
        if rule["rule"] == "follows":
            return rule["times"] * self.far(rule["of"], reference, yours)
        if rule["rule"] == "within":
            return np.full(len(reference), float(rule["of"]))
        if rule["rule"] == "count":
            return self.z * np.sqrt(np.maximum(numbers(reference[column]), 1))
        if rule["rule"] == "interval":
            # The reference's alone: an interval that came out too wide must not excuse itself.
            low, high = (numbers(reference[end]) for end in rule["of"])
            return np.maximum(self.z * (high - low) / (2 * NORMAL_95), rule["at_least"])
        return self._of_mean(rule, (numbers(reference[column]) + numbers(yours[column])) / 2, reference)

    def _of_mean(self, rule: dict, middle: np.ndarray, reference: pd.DataFrame) -> np.ndarray:
        """z standard deviations of means over n numbers in a range, n as the reference says."""
        low, high = rule.get("between", (0, 1))
        n = np.maximum(numbers(reference[rule["of"]]), 1)
        if "metric" in reference:
            n = n * reference["metric"].map(lambda name: self.counts_as.get(name, 1.0)).to_numpy(float)
        p = (n * np.clip((middle - low) / (high - low), 0, 1) + 2) / (n + 4)
        return self.z * (high - low) * np.sqrt(p * (1 - p) / n)


def _add(roles: dict[str, str], rules: dict[str, dict], section: dict, where: str) -> None:
    """Take over one section's columns; StudyError for a key or a rule that is none and a column listed twice."""
    unknown = set(section) - {*ROLES, "scores"}
    if unknown:
        raise StudyError(f"{where}: unknown key {', '.join(sorted(unknown))}; known: {', '.join(ROLES)}, scores")
    listed = [(column, role) for role in ROLES for column in section.get(role) or ()]
    listed += [(column, "scores") for column in section.get("scores") or ()]
    for column, _ in listed:
        if [name for name, _ in listed].count(column) > 1:
            raise StudyError(f"{where}: column `{column}` is listed twice; leave it where it belongs")
    roles.update(listed)
    for column, rule in (section.get("scores") or {}).items():
        name = rule.get("rule") if isinstance(rule, dict) else None
        if name not in RULES:
            raise StudyError(f"{where}: rule `{name}` of column `{column}` is none of: {', '.join(RULES)}")
        missing = sorted(RULES[name] - set(rule))
        if missing:
            raise StudyError(f"{where}: rule `{name}` of column `{column}` needs `{missing[0]}`")
        rules[column] = rule


def load_tolerances(path: Path | None = None) -> dict:
    """Read tolerances.yml (default: at the root of the study); StudyError if it is not there, not YAML or not whole."""
    path = path or root() / "tolerances.yml"
    raw = read_yaml(path, "it says how closely results must agree, restore it from git")
    needed = {"keys": list, "scores": dict, "numerical": dict, "statistical": dict}
    for key, kind in needed.items():
        if not isinstance(raw, dict) or not isinstance(raw.get(key), kind):
            raise StudyError(f"{path.name}: `{key}:` is missing or not a {'list' if kind is list else 'mapping'}")
    for section, key in (("numerical", "relative"), ("numerical", "absolute"), ("statistical", "z")):
        if not isinstance(raw[section].get(key), int | float):
            raise StudyError(f"{path.name}: {section} needs a number `{key}`, such as 1.0e-5")
    return raw


def tolerances_of(raw: dict, table: str) -> Tolerances:
    """What `load_tolerances` read, for the table of that name (without .csv); StudyError as it says."""
    roles: dict[str, str] = {}
    rules: dict[str, dict] = {}
    _add(roles, rules, {key: value for key, value in raw.items() if key not in LIMITS}, "tolerances.yml")
    for pattern, section in (raw.get("tables") or {}).items():
        if fnmatchcase(table, pattern):
            _add(roles, rules, section, f"tolerances.yml, tables, {pattern}")
    limits = raw["numerical"] | raw["statistical"]
    return Tolerances(roles, rules, limits["relative"], limits["absolute"], limits["z"], limits.get("counts_as") or {})
