// With gopkg.in/macaroon.v2: `add TOKEN KEY ID`: a third-party caveat; `discharge TOKEN KEY ID CAVEAT`: its discharge, bound;
// `bind TOKEN DISCHARGE`: a discharge that is there, bound.
package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"

	"gopkg.in/macaroon.v2"
)

func main() {
	token := read(os.Args[2])
	switch os.Args[1] {
	case "add":
		check(token.AddThirdPartyCaveat(unhex(os.Args[3]), []byte(os.Args[4]), "elsewhere"))
		write(token)
	case "discharge":
		discharge, err := macaroon.New(unhex(os.Args[3]), []byte(os.Args[4]), "elsewhere", macaroon.V2)
		check(err)
		check(discharge.AddFirstPartyCaveat([]byte(os.Args[5])))
		discharge.Bind(token.Signature())
		write(discharge)
	case "bind":
		discharge := read(os.Args[3])
		discharge.Bind(token.Signature())
		write(discharge)
	}
}

func read(text string) *macaroon.Macaroon {
	binary, err := base64.RawURLEncoding.DecodeString(text)
	check(err)
	var m macaroon.Macaroon
	check(m.UnmarshalBinary(binary))
	return &m
}

func write(m *macaroon.Macaroon) {
	binary, err := m.MarshalBinary()
	check(err)
	fmt.Println(base64.RawURLEncoding.EncodeToString(binary))
}

func unhex(text string) []byte {
	bytes, err := hex.DecodeString(text)
	check(err)
	return bytes
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
