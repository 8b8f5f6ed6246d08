"""Adds a caveat to a capability with pymacaroons: token and caveat on the command line, the narrower token out."""
import sys

from pymacaroons import Macaroon

macaroon = Macaroon.deserialize(sys.argv[1])
macaroon.add_first_party_caveat(sys.argv[2])
print(macaroon.serialize())
