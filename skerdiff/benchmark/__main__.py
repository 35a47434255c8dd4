"""``python -m skerdiff.benchmark``, the same as ``skerdiff benchmark``."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
