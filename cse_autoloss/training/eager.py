"""SGD that leaves torch's compiler alone.

Most methods of torch's optimisers import `torch._dynamo` at their first call, only to keep the compiler out of
themselves. Where nothing is compiled that costs each process, and so each worker, as long as torch itself.
"""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import torch
from torch.optim import SGD


class EagerSGD(SGD):
    """`torch.optim.SGD`, the same to the last bit, for training loops that are not compiled."""

    add_param_group = unwrap(SGD.add_param_group)
    zero_grad = unwrap(SGD.zero_grad)
    state_dict = unwrap(SGD.state_dict)
    load_state_dict = unwrap(SGD.load_state_dict)
    step: Any = torch.no_grad()(unwrap(SGD.step))
