"""Small nets that a CPU trains in seconds. A classifier maps images to (embedding (N, D), logits (N, C))."""

from __future__ import annotations

import math

from torch import Tensor, nn

from cse_autoloss.classifiers.head import ClassHead
from cse_autoloss.errors import UnknownNameError

MODELS = ("mlp", "small", "face", "resnet20", "mgn")
"""Names that `make_classifier` takes."""


class Mlp(nn.Module):
    """Two hidden layers on all pixels: for tiny images such as 8x8 digits."""

    def __init__(self, pixels: int, classes: int, scale: float | None = None, width: int = 96) -> None:
        """`pixels` is channels x height x width; `scale` as of `ClassHead`."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.head = ClassHead(width, classes, scale)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, H, W) to embedding and logits."""
        embedding = self.body(images)
        return embedding, self.head(embedding)


class SmallNet(nn.Module):
    """Three 3x3 convolutions of stride 2 with GroupNorm, global average: images of any size.

    GroupNorm looks at one image alone, so that models trained together need no statistics of their own.
    """

    def __init__(
        self, channels: int, classes: int, scale: float | None = None, width: int = 16, embedding: int = 64
    ) -> None:
        """`width` is the first layer's channels; the next ones have twice and four times as many."""
        super().__init__()
        self.body = nn.Sequential(
            *_convolutions(channels, width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, embedding),
        )
        self.head = ClassHead(embedding, classes, scale)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, H, W) to embedding and logits."""
        embedding = self.body(images.contiguous())  # GroupNorm under vmap takes no channels-last layout
        return embedding, self.head(embedding)


class FaceNet(nn.Module):
    """`SmallNet`'s convolutions, then a linear layer on all places in place of their average.

    In aligned photographs of faces it matters where a thing is; the average forgets that.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        scale: float | None = None,
        width: int = 16,
        embedding: int = 64,
    ) -> None:
        """`shape` is (channels, height, width) of the images; the rest as of `SmallNet`."""
        super().__init__()
        places = math.prod(-(-side // 8) for side in shape[1:])
        self.body = nn.Sequential(
            *_convolutions(shape[0], width), nn.Flatten(), nn.Linear(4 * width * places, embedding)
        )
        self.head = ClassHead(embedding, classes, scale)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, H, W) to embedding and logits."""
        embedding = self.body(images.contiguous())  # GroupNorm under vmap takes no channels-last layout
        return embedding, self.head(embedding)


def _convolutions(channels: int, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(4, after), nn.ReLU()]
    return layers


def make_classifier(
    name: str, shape: tuple[int, int, int], classes: int, scale: float | None = None
) -> nn.Module:
    """A classifier by its name.

    Args:
        name: one of `MODELS`; of one with several heads `branches` tells how it is trained.
        shape: (channels, height, width) of the images.
        classes: C.
        scale: s for normalised features; None for plain logits.
    """
    if name == "mlp":
        return Mlp(shape[0] * shape[1] * shape[2], classes, scale)
    if name == "small":
        return SmallNet(shape[0], classes, scale)
    if name == "face":
        return FaceNet(shape, classes, scale)
    if name == "resnet20":
        from cse_autoloss.classifiers.resnet import ResNet20

        return ResNet20(shape[0], classes, scale)
    if name == "mgn":
        from cse_autoloss.classifiers.mgn import MgnNet

        return MgnNet(shape, classes, scale)
    raise UnknownNameError.of("model", name, MODELS)
