"""Print the layers of the package; exits with 1 where an import breaks them."""

import sys

from tests.house.check import long_files, offences
from tests.house.drawing import drawing, table

print(drawing(), "", *table(), "", *long_files(), sep="\n")
if broken := list(offences()):
    print("", *broken, sep="\n", file=sys.stderr)
sys.exit(bool(broken))
