"""`python -m adapter_format`."""

import sys

from adapter_format.cli import main

if __name__ == "__main__":
    sys.exit(main())
