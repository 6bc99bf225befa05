"""Training of the retrieval networks: scenes on the fly, losses, checkpoints, exact resume."""

from speckleflow.train.config import TrainConfig, read_train_config
from speckleflow.train.loop import train

__all__ = ["TrainConfig", "read_train_config", "train"]
