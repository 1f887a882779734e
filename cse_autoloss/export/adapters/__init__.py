"""Our losses in the calls of other libraries.

Each module imports its library when it is used, so that none of them has to be installed:

- `mmdet`: `forward(pred, target, weight, avg_factor, reduction_override)`;
- `torchvision`: RetinaNet, FCOS and Faster R-CNN models that train with our losses;
- `insightface`: logits in, logits out;
- `transformers`: DETR, Deformable DETR and RT-DETR that train and match with our losses;
- `metric_learning`: `loss(embeddings, labels)` of pytorch-metric-learning, which owns its weights.
"""
