"""As probe_path on random features of the paper's shape: 3,000 images, 512 dimensions, 100 classes. Minutes."""

from support.duels import Duel
from support.probe_paths import PeerPath, optimum_tolerance, path_duel
from support.probe_problems import paper_shaped_problem
from touchstone_trainer.evaluation.regularisation_path import RegularisationPath

NAME = "probe_path_paper_shape"
FLOOR = 30


def prepare() -> Duel[RegularisationPath, PeerPath]:
    return path_duel(paper_shaped_problem(), optimum_tolerance, repetitions=1)
