"""`python -m overpaint` is the `overpaint` command."""

import sys

from .cli import main

sys.exit(main())
