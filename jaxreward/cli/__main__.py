"""`python -m jaxreward.cli`."""

import sys

from jaxreward.cli import main

sys.exit(main())
