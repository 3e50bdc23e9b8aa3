"""The 97 values of the regularised probe on the miniverse's flags: 251 images, 192 dimensions, 241 classes."""

from support.duels import Duel
from support.probe_paths import PeerPath, optimum_tolerance, path_duel
from support.probe_problems import miniverse_problem
from touchstone_trainer.evaluation.regularisation_path import RegularisationPath

NAME = "probe_path"
FLOOR = 30


def prepare() -> Duel[RegularisationPath, PeerPath]:
    return path_duel(miniverse_problem("flags"), optimum_tolerance, repetitions=3)
