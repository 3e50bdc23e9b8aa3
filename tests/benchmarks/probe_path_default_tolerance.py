"""As probe_path, but scikit-learn stops where its default tolerance lets it, short of its optimum where C is large."""

from support.duels import Duel
from support.probe_paths import PeerPath, default_tolerance, path_duel
from support.probe_problems import miniverse_problem
from touchstone_trainer.evaluation.regularisation_path import RegularisationPath

NAME = "probe_path_default_tolerance"
FLOOR = 1


def prepare() -> Duel[RegularisationPath, PeerPath]:
    return path_duel(miniverse_problem("flags"), default_tolerance, repetitions=3)
