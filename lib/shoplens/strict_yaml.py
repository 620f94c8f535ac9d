"""The YAML files of the study, read strictly: a mistake in one is a StudyError that names the file and the line."""

from pathlib import Path

import yaml

from shoplens.errors import StudyError


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: plain YAML keeps the last and forgets the first."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                file = Path(key.start_mark.name).name
                raise StudyError(f"{file}, line {key.start_mark.line + 1}: `{key.value}` is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, purpose: str) -> object:
    """What a YAML file holds. StudyError where it is not there, with what it is for, not YAML or holds a key twice."""
    try:
        with open(path, "rb") as file:
            return yaml.load(file, Loader=_Loader)
    except FileNotFoundError:
        raise StudyError(f"there is no {path}; {purpose}") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
