"""The runs of a study: which there are for a data set, in which order, with which seeds."""


import pytest
from throwaway import plan

from shoplens.errors import StudyError
from shoplens.study.plan import load_study, needed, parse_seeds

P1_FULL = ("02_bcnn 02_bcnn_root 03_sscnn 03_sscnn_root 04_bcnn_mcr 04_sscnn_mcr 04_mcr_on_validation 05_bmtl_rl "
           "05_ssmtl_rl 06b_long_tail")
P1_MIDDLE = "02_bcnn_middle 03_sscnn_middle"
P1_CORE = ("02_bcnn_core 02_bcnn_root_core 03_sscnn_core 03_sscnn_root_core 04_bcnn_mcr_core 04_sscnn_mcr_core "
           "05_bmtl_rl_core 05_ssmtl_rl_core 06_bmtl_ca 06_bmtl_ca_core 06_ssmtl_ca 06_ssmtl_ca_core 06_parallel_core "
           "06_shuffled_core "
           "06b_long_tail_core")
ABLATIONS = "03_sscnn_template 06_single_colour 06_single_pattern 06_single_sleeve_length"
CONTROLS = "02_bcnn_longer 02_bcnn_as_printed 03_sscnn_gaussian 03_sscnn_centre"
LOSSES = ("classes", "supcon", "arcface", "triplet")


def other_losses(protocol: str = "") -> str:
    """Runs of 09b: losses and heads of a protocol, named by its start."""
    return " ".join(f"09b_{protocol}{loss}_{head}" for loss in LOSSES for head in ("linear", "block"))


def selections(protocol: str = "") -> str:
    """Runs of 09b: candidates by rank in the losses over pairs."""
    return " ".join(f"09b_{protocol}{loss}_{chosen}" for loss in ("supcon", "triplet")
                    for chosen in ("closest", "20th", "pos10"))


P2_ITEMS = ("08_netvlad 09_global_closest 09_global_20th 09_global_pos10 09_local_closest 09_local_20th 09_local_pos10 "
            f"09_norm_pos10 09_gem_pos10 09_global_again 09_global_plain {other_losses()} {selections()}")
RUNS = {
    "bazaar": f"{P1_FULL} {CONTROLS} {P1_CORE} {ABLATIONS} 06_single_shape 06_single_pants_length {P2_ITEMS} "
              "09_global_20th_interval 09_global_12th 10_search_analysis 12_explore 07b_labels 07b_clutter 07b_alike",
    "fashion": f"{P1_FULL} {CONTROLS} {P1_MIDDLE} {P1_CORE} 02_bcnn_middle_core 03_sscnn_middle_core {ABLATIONS} "
               "06_single_neck 06_single_length",
    "grocery": f"{P1_FULL} {CONTROLS} 03_sscnn_template {P1_MIDDLE} 08_netvlad_unseen 08_netvlad_iconic "
               "08_netvlad_known 08_netvlad_elsewhere "
               "09_unseen_global_closest 09_unseen_global_20th 09_unseen_global_pos10 09_unseen_local_closest "
               "09_unseen_local_20th 09_unseen_local_pos10 09_unseen_norm_pos10 09_unseen_gem_pos10 "
               "09_unseen_global_again 09_known_global_pos10 09_known_local_pos10 09_known_gem_pos10 "
               "09_iconic_global_closest 09_iconic_local_closest 09_elsewhere_global_pos10 10_search_analysis "
               f"12_explore {other_losses('unseen_')} {other_losses('iconic_')} {other_losses('known_')} "
               f"{selections('unseen_')}",
    "deepfashion": f"{P1_FULL} {P2_ITEMS} 10_search_analysis 12_explore",
    "folder": "02_bcnn 03_sscnn 06b_long_tail",
}  # fmt: skip
EVERYWHERE = ("01_catalogue", "07_classification_analysis", "11_report")


@pytest.mark.parametrize("dataset", RUNS)
def test_the_runs_of_every_dataset(dataset):
    """study.yml's matrices make these runs: a name that changes parts a run from its results."""
    study = load_study()
    assert list(study.datasets) == list(RUNS)
    for profile in study.profiles:
        assert sorted(study.plan(dataset, profile, (0,))) == sorted([*EVERYWHERE, *RUNS[dataset].split()])
        repeated = study.plan(dataset, profile, (0, 1, 2)).values()
        assert {run.seed for run in repeated if run.notebook.stem in ("02_bcnn", "03_sscnn", "04_mcr")} == {0, 1, 2}
    bazaar = study.plan("bazaar", "laptop", (0, 1, 2))
    assert len([run for run in bazaar.values() if run.notebook.stem == "09_rank_based_learning"]) == 9 * 3 + 3


def test_a_profile_names_its_seeds(toy):
    toy.run("a", seeds=True)
    toy.study["profiles"]["laptop"] = {"about": "a CPU", "seeds": [3, 0]}
    toy.save()
    assert load_study().profiles == {"smoke": "tests", "laptop": "a CPU"}
    assert list(plan(seeds=parse_seeds(""), profile="laptop")) == ["a-s3", "a"]
    assert list(plan(seeds=parse_seeds("1"), profile="laptop")) == ["a-s1"]
    assert list(plan(seeds=parse_seeds(" "))) == ["a"], "a profile that says nothing has seed 0"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"about": "a CPU", "seeds": []}, "profile laptop: seeds must contain at least 1 items"),
        ({"about": "a CPU", "seeds": [1, 1]}, "profile laptop: seeds must contain unique items"),
        ({"about": "a CPU", "seeds": [-1]}, "must be bigger than or equal to 0"),
        ({"seeds": [0]}, "profile laptop: expected keys about: and perhaps seeds:"),
        ({"about": "a CPU", "seed": [0]}, "profile laptop: unknown key seed; known: about, seeds"),
        (3, "profile laptop: expected keys about:"),
    ],
)
def test_mistakes_in_a_profile_are_named(toy, profile, said):
    toy.study["profiles"]["laptop"] = profile
    toy.run("a")
    with pytest.raises(StudyError) as error:
        load_study()
    assert said in str(error.value)


def test_a_dataset_may_be_capable_of_what_a_run_needs_or_of_nothing(toy):
    toy.study["datasets"] |= {"shop": {"capabilities": ["prices", "masks"]}, "bare": None,
                              "empty": {"capabilities": None}}
    toy.run("a", needs=["prices"])
    assert [list(plan(dataset=name)) for name in ("shop", "bare", "empty")] == [["a"], [], []]


def test_run_listed_twice_is_an_error(toy):
    toy.run("a")
    text = (toy.root / "study.yml").read_text()
    (toy.root / "study.yml").write_text(text + "  a: {notebook: a, outputs: [tables/b.csv]}\n")
    with pytest.raises(StudyError, match="`a` is given twice"):
        load_study()


def test_names_are_listed_when_wrong(toy):
    toy.run("a")
    with pytest.raises(StudyError, match="DATASET=bazar is not in study.yml; choose one of: toy, plain"):
        plan(dataset="bazar")
    with pytest.raises(StudyError, match="PROFILE=big .* smoke, laptop"):
        plan(profile="big")
    with pytest.raises(StudyError, match="RUN=b is no run of toy/smoke; choose one of: a"):
        needed(plan(), "b")
    for wrong in ("0 0", "-1", "x", "1.0", "0 x"):
        with pytest.raises(StudyError, match="distinct whole numbers"):
            parse_seeds(wrong)


def test_dataset_without_the_capability_has_no_such_run(toy):
    toy.run("a")
    toy.run("b", needs=["attributes"])
    toy.run("c", inputs=["a", "b"])
    assert list(plan()) == ["a", "b", "c"]
    assert plan()["c"].upstream == ["a", "b"]
    assert list(plan(dataset="plain")) == ["a", "c"]
    assert plan(dataset="plain")["c"].upstream == ["a"]


def test_seeds_multiply_runs_and_meet_their_own_inputs(toy):
    toy.run("a")
    toy.run("b", inputs=["a"], seeds=True)
    toy.run("c", inputs=["b"], seeds=True)
    toy.run("d", inputs=["b", "c"])
    runs = plan(seeds=(0, 1))
    assert list(runs) == ["a", "b", "b-s1", "c", "c-s1", "d"]
    assert runs["c-s1"].upstream == ["b-s1"]
    assert runs["d"].inputs == {"b": ("b", "b-s1"), "c": ("c", "c-s1")}
    assert runs["b-s1"].outputs == ("tables/b-s1.csv", "artefacts/model.txt")
    assert runs["b-s1"].parameters()["SEED"] == 1
    assert list(needed(runs, "c-s1")) == ["a", "b-s1", "c-s1"]


def test_seeds_first_appears_once_for_the_first_seed_asked(toy):
    toy.run("a", seeds=True)
    toy.run("b", inputs=["a"], seeds="first")
    toy.run("c", inputs=["b"])
    toy.run("d", inputs=["a", "b"], seeds=True)
    toy.run("e", inputs=["b"], seeds="first")
    runs = plan(seeds=(2, 0, 1))
    assert list(runs) == ["a-s2", "a", "a-s1", "b-s2", "c", "d-s2", "d", "d-s1", "e-s2"]
    assert runs["b-s2"].parameters()["SEED"] == 2
    assert runs["b-s2"].inputs == {"a": ("a-s2",)}
    assert runs["c"].inputs == {"b": ("b-s2",)}
    assert runs["e-s2"].inputs == {"b": ("b-s2",)}
    # Its own seed of `a`; of `b` there is only one.
    assert [runs[i].upstream for i in ("d-s2", "d", "d-s1")] == [["a-s2", "b-s2"], ["a", "b-s2"], ["a-s1", "b-s2"]]
    assert list(needed(runs, "d-s1")) == ["a-s2", "a-s1", "b-s2", "d-s1"]
    assert list(plan()) == ["a", "b", "c", "d", "e"]


def test_seeds_is_yes_no_or_first(toy):
    for known in (True, False, "first"):
        toy.run("a", seeds=known)
        load_study()
    for unknown in ("sometimes", "", 2):
        toy.run("a", seeds=unknown)
        with pytest.raises(StudyError, match=f"run a: seeds is true, false or first, got {unknown}"):
            load_study()


def test_two_runs_cannot_own_one_file(toy):
    toy.run("a", seeds=True, outputs=["tables/scores.csv"])
    plan()
    with pytest.raises(StudyError, match="a and a-s1 both declare tables/scores.csv"):
        plan(seeds=(0, 1))
