"""Arms: the ways of getting a training set, one file each."""

from typing import Annotated

from pydantic import Field

from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.mixture import Mixture
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.arms.target_train import TargetTrain

Arm = Annotated[NoTraining | Retrieval | Generation | Perturbation | TargetTrain | Mixture, Field(discriminator="kind")]
