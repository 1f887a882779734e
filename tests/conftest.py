"""What all tests share."""

import os

import pytest
import torch
from hypothesis import settings

# The conformance suites' plain asserts should tell as much as those in tests do.
pytest.register_assert_rewrite("cse_autoloss.testing")

# Tests run side by side, each in its own process: more threads than cores would only fight.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("project", deadline=None, derandomize=True, print_blob=False)
settings.load_profile("project")
