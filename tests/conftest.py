"""What all tests share."""

import os

import pytest
import torch
from hypothesis import settings

# The conformance suites' plain asserts should tell as much as those in tests do.
for suite in ("testing", "testing_detectors", "testing_spaces"):
    pytest.register_assert_rewrite(f"cse_autoloss.{suite}")

# Tests run side by side, each in its own process: more threads than cores would only fight.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("project", deadline=None, derandomize=True, print_blob=False)
settings.load_profile("project")
