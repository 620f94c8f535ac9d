"""The YAML files of the study, read strictly: a mistake in one is a StudyError that names the file and the line."""

import re
from pathlib import Path

import yaml

from shoplens.errors import StudyError

# What YAML 1.1 reads as text although it looks like a number: it wants a point and a signed exponent.
NUMBER = re.compile(r"([+-]?\d+)(\.\d*)?[eE]([+-]?)(\d+)")


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error (plain YAML keeps the last and forgets the first), and so is 1e-4
    (plain YAML makes a text of it)."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise StudyError(f"{_place(key)}: `{key.value}` is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_text(self, node):
        if node.style is None and (found := NUMBER.fullmatch(node.value)):
            whole, fraction, sign, exponent = found.groups()
            right = f"{whole}{fraction or '.0'}e{sign or '+'}{exponent}"
            raise StudyError(f"{_place(node)}: {node.value} is text to YAML, not a number; write {right}")
        return self.construct_scalar(node)


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_text)


def _place(node: yaml.Node) -> str:
    return f"{Path(node.start_mark.name).name}, line {node.start_mark.line + 1}"


def read_yaml(path: Path, purpose: str) -> object:
    """What a YAML file holds. StudyError where it is not there, with what it is for, not YAML or holds a key twice."""
    try:
        with open(path, "rb") as file:
            return yaml.load(file, Loader=_Loader)
    except FileNotFoundError:
        raise StudyError(f"there is no {path}; {purpose}") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
