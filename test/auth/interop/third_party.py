"""With pymacaroons: `add TOKEN KEY ID`: a third-party caveat; `discharge TOKEN KEY ID CAVEAT`: its discharge, bound;
`bind TOKEN DISCHARGE -`: a discharge that is there, bound."""
import sys

from pymacaroons import MACAROON_V2, Macaroon

command, token, key, identifier = sys.argv[1:5]
macaroon = Macaroon.deserialize(token)
if command == "add":
    macaroon.add_third_party_caveat("elsewhere", bytes.fromhex(key), identifier)
    print(macaroon.serialize())
elif command == "discharge":
    discharge = Macaroon(location="elsewhere", identifier=identifier, key=bytes.fromhex(key), version=MACAROON_V2)
    discharge.add_first_party_caveat(sys.argv[5])
    print(macaroon.prepare_for_request(discharge).serialize())
else:
    print(macaroon.prepare_for_request(Macaroon.deserialize(key)).serialize())
