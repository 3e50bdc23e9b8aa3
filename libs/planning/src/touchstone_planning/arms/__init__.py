"""Kinds of arms, one file each, and the one line that makes each known."""

from touchstone_planning.arms.generation import GenerationPlanner
from touchstone_planning.arms.given import GivenPlanner
from touchstone_planning.arms.labelled import LabelledPlanner
from touchstone_planning.arms.mixture import MixturePlanner
from touchstone_planning.arms.nothing import NoTrainingPlanner
from touchstone_planning.arms.perturbation import PerturbationPlanner
from touchstone_planning.arms.planner import register_planner
from touchstone_planning.arms.retrieval import RetrievalPlanner
from touchstone_planning.arms.target_train import TargetTrainPlanner

register_planner(NoTrainingPlanner())
register_planner(RetrievalPlanner())
register_planner(GenerationPlanner())
register_planner(PerturbationPlanner())
register_planner(TargetTrainPlanner())
register_planner(GivenPlanner())
register_planner(MixturePlanner())
register_planner(LabelledPlanner())
