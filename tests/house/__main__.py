"""Print the layers of the package; exits with 1 where an import breaks them."""

import sys

from tests.house.check import offences
from tests.house.drawing import drawing, table

print(drawing(), "", *table(), sep="\n")
if broken := list(offences()):
    print("", *broken, sep="\n", file=sys.stderr)
sys.exit(bool(broken))
