"""tolerances.yml as data: what each column of a table is, and how far two of its numbers may lie apart."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import fastjsonschema
import numpy as np
import pandas as pd

from shoplens.errors import StudyError
from shoplens.paths import root
from shoplens.strict_yaml import read_yaml

ROLES = ("keys", "machine", "given", "noted", "derived", "scores")
NORMAL_95 = 1.96        # half the width of a 95 % interval, in standard errors
SCHEMA = Path(__file__).with_name("tolerances.schema.yml")


def numbers(column: pd.Series) -> np.ndarray:
    """A column of text as floats; NaN where a cell holds no number."""
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


@dataclass(frozen=True)
class Tolerances:
    """What tolerances.yml says of one table.

    roles: {column: one of ROLES}. rules: {column of scores: its rule}. relative, absolute: of the numerical agreement.
    z: standard deviations of the statistical one. counts_as: {metric: share of n}.
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
        # z standard deviations of means over n numbers in a range, n as the reference says.
        low, high = rule.get("between", (0, 1))
        n = np.maximum(numbers(reference[rule["of"]]), 1)
        if "metric" in reference:
            n = n * reference["metric"].map(lambda name: self.counts_as.get(name, 1.0)).to_numpy(float)
        middle = (numbers(reference[column]) + numbers(yours[column])) / 2
        p = (n * np.clip((middle - low) / (high - low), 0, 1) + 2) / (n + 4)
        return self.z * (high - low) * np.sqrt(p * (1 - p) / n)


def load_tolerances(path: Path | None = None) -> dict:
    """Read tolerances.yml (default: at the root of the study); StudyError if it is not there, not YAML or not whole."""
    path = path or root() / "tolerances.yml"
    raw = read_yaml(path, "it says how closely results must agree, restore it from git")
    schema = read_yaml(SCHEMA, "it says what tolerances.yml may hold, restore it from git")
    try:
        return fastjsonschema.compile(schema)(raw)
    except fastjsonschema.JsonSchemaValueException as error:
        place = ", ".join((path.name, *error.path[1:]))
        remedy = error.definition.get("description", "see the comments in the file for what belongs there")
        found = "" if isinstance(error.value, dict | list) else f"{error.value!r} "
        raise StudyError(f"{place}: {found}{error.message.removeprefix(f'{error.name} ')}; {remedy}") from None


def tolerances_of(raw: dict, table: str) -> Tolerances:
    """What `load_tolerances` read, for the table of that name (without .csv); StudyError for a column listed twice."""
    sections = {"tolerances.yml": raw} | {f"tolerances.yml, tables, {pattern}": section for pattern, section
                                          in (raw.get("tables") or {}).items() if fnmatchcase(table, pattern)}
    roles, rules = {}, {}
    for place, section in sections.items():
        listed = [(column, role) for role in ROLES for column in section.get(role) or ()]
        columns = pd.Index([column for column, _ in listed])
        if columns.has_duplicates:
            raise StudyError(f"{place}: column `{columns[columns.duplicated()][0]}` is listed twice; leave it where it "
                             "belongs")
        roles |= dict(listed)
        rules |= section.get("scores") or {}
    limits = raw["numerical"] | raw["statistical"]
    return Tolerances(roles, rules, limits["relative"], limits["absolute"], limits["z"], limits.get("counts_as") or {})
