"""VGG-19's features, for a perceptual loss with weights that the user brings (none come with the package)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from speckleflow.errors import ConfigError, InputError

#: channels of the convolutions; 0 is a maximum over 2 x 2 pixels
LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)
#: number of the convolutions whose output counts (the first of each group), and the weights W_k of eq. (4)
COUNTED = {1: 1 / 32, 3: 1 / 16, 5: 1 / 8, 9: 1 / 4, 13: 1.0}
#: mean and standard deviation of the colours that VGG-19 was trained with
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Vgg19(nn.Module):
    """The convolutions of VGG-19 down to the first of its last group."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for channels in LAYERS:
            if channels:
                layers += [nn.Conv2d(inputs, channels, 3, 1, 1), nn.ReLU()]
                inputs = channels
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    @classmethod
    def load(cls, path: str) -> Vgg19:
        """With the weights of a file (.safetensors, or .pth of tensors) that uses torchvision's names.

        Raises
        ------
        ConfigError
            There is no such file.
        InputError
            It does not hold these layers.
        """
        if not Path(path).is_file():
            raise ConfigError(f"vgg19: expected a file, found no {path}")
        try:
            safe = path.endswith(".safetensors")
            tensors = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
            network = cls()
            wanted = network.state_dict()
            network.load_state_dict({name: tensors[name] for name in wanted})
        except Exception as error:  # the unpickler raises anything on damaged bytes
            raise InputError(
                path, expected="VGG-19's weights by torchvision's names", found=f"something else ({error})"
            ) from error
        return network.eval().requires_grad_(False)

    def distance(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Eq. (4) for images (B, 1, y, x) in (-1, 1): weighted mean L1 distances of the features."""
        pair = (torch.cat([made, wanted.detach()]) + 1) / 2
        x = (pair.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        distance, number = made.new_zeros(()), 0
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                number += 1
                if number in COUNTED:
                    distance = distance + COUNTED[number] * F.l1_loss(*x.chunk(2))
        return distance
