"""`python -m cse_autoloss`, the same as `cse-autoloss`."""

from __future__ import annotations

from cse_autoloss.cli.app import main

if __name__ == "__main__":
    main()
