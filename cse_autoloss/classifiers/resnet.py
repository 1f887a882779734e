"""ResNet-20 for 32x32 images, as in AM-LFS's experiments on CIFAR-10.

Source: "Deep Residual Learning for Image Recognition", He et al., CVPR 2016, section 4.2: three stages of
three blocks with 16, 32 and 64 channels, shortcuts without parameters (option A).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from cse_autoloss.classifiers.head import ClassHead


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, after - before
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        if self.extra:
            x = pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return relu(out + x)


class ResNet20(nn.Module):
    """0.27 million parameters. BatchNorm: each model of a stack has its own statistics, of its own
    batches."""

    def __init__(self, channels: int, classes: int, scale: float | None = None) -> None:
        """`scale` as of `ClassHead`."""
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        blocks = []
        before = 16
        for after in (16, 32, 64):
            for index in range(3):
                blocks.append(_Block(before, after, 2 if index == 0 and after != 16 else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = ClassHead(64, classes, scale)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, H, W) to embedding (N, 64) and logits."""
        embedding = self.blocks(self.stem(images)).mean((-2, -1))
        return embedding, self.head(embedding)
