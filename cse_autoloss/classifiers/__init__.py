"""Classifiers for parametric losses: small nets, ResNet-20, and stacks of them that are trained together."""

from cse_autoloss.classifiers.nets import MODELS, FaceNet, Mlp, SmallNet, make_classifier
from cse_autoloss.classifiers.resnet import ResNet20
from cse_autoloss.classifiers.stack import ModelStack, Sgd

__all__ = ["MODELS", "FaceNet", "Mlp", "ModelStack", "ResNet20", "Sgd", "SmallNet", "make_classifier"]
