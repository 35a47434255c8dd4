"""``python -m skerdiff.benchmark``, the same as ``skerdiff benchmark``."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
