"""Some makes killed at random moments, some files truncated or altered: the tables stay what they were."""

import random

import pytest
from faults.injection import build, rounds


@pytest.fixture(scope="module")
def study(tmp_path_factory, warm_python):
    folder = tmp_path_factory.mktemp("faults").resolve()
    return folder, build(folder, warm_python)


def test_tables_outlive_ten_of_each(study, warm_python):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    for line in rounds(*study, warm_python, random.Random(seed), kills=10, damages=10, each=30):
        print(line)
