"""Arms: the ways of getting a training set, one file each. libs/planning knows what each needs and plans."""

from typing import Annotated

from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.given import Given
from touchstone_contracts.arms.labelled import Labelled
from touchstone_contracts.arms.mixture import Mixture
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.arms.spec import ARMS, ArmSpec
from touchstone_contracts.arms.target_train import TargetTrain

ARMS.register(NoTraining)
ARMS.register(Retrieval)
ARMS.register(Generation)
ARMS.register(Perturbation)
ARMS.register(TargetTrain)
ARMS.register(Given)
ARMS.register(Mixture)
ARMS.register(Labelled)

Arm = Annotated[ArmSpec, ARMS]
