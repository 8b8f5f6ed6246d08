// Adds a caveat to a capability with gopkg.in/macaroon.v2: token and caveat on the command line, the narrower token out.
package main

import (
	"encoding/base64"
	"fmt"
	"os"

	"gopkg.in/macaroon.v2"
)

func main() {
	binary, err := base64.RawURLEncoding.DecodeString(os.Args[1])
	check(err)
	var m macaroon.Macaroon
	check(m.UnmarshalBinary(binary))
	check(m.AddFirstPartyCaveat([]byte(os.Args[2])))
	narrower, err := m.MarshalBinary()
	check(err)
	fmt.Println(base64.RawURLEncoding.EncodeToString(narrower))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
