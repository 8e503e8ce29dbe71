"""`python -m ultra` is `ultra`."""

import sys

from .cli import main

sys.exit(main())
