// Command main seals and opens HPKE messages by Go's crypto/hpke (Go 1.26): base mode, HKDF-SHA256, AES-256-GCM.
//
//	seal         20 messages, sealed to new keys and opened again, as JSON
//	open <file>  messages of such a file; fails at the first that does not open to its plaintext
package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
)

type message struct {
	Alg       string `json:"alg"`
	KemID     uint16 `json:"kem_id"`
	Private   string `json:"private_key"`
	Public    string `json:"public_key"`
	Info      string `json:"info"`
	Aad       string `json:"aad"`
	Plaintext string `json:"plaintext"`
	Wrapped   string `json:"wrapped"`
}

var kems = []struct {
	alg string
	kem hpke.KEM
}{
	{"x25519", hpke.DHKEM(ecdh.X25519())},
	{"ml-kem-768", hpke.MLKEM768()},
	{"ml-kem-1024", hpke.MLKEM1024()},
	{"x25519+ml-kem-768", hpke.MLKEM768X25519()},
}

// Lengths of plaintext and aad, in bytes.
var lengths = [][2]int{{32, 0}, {0, 16}, {16, 1}, {64, 200}, {1000, 33}}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "open" {
		openAll(os.Args[2])
		return
	}
	sealAll()
}

func sealAll() {
	var messages []message
	for _, each := range kems {
		for _, length := range lengths {
			private := must(each.kem.GenerateKey())
			m := message{
				Alg:       each.alg,
				KemID:     each.kem.ID(),
				Private:   hex.EncodeToString(must(private.Bytes())),
				Public:    hex.EncodeToString(private.PublicKey().Bytes()),
				Info:      hex.EncodeToString([]byte("ron-kms::acme::web::wrap::0196c1d2-7a3b-7c4d-8e5f-0123456789ab#v1")),
				Aad:       hex.EncodeToString(random(length[1])),
				Plaintext: hex.EncodeToString(random(length[0])),
			}
			enc, sender, err := hpke.NewSender(private.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), unhex(m.Info))
			check(err)
			ciphertext := must(sender.Seal(unhex(m.Aad), unhex(m.Plaintext)))
			m.Wrapped = hex.EncodeToString(append(enc, ciphertext...))
			open(m)
			messages = append(messages, m)
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	check(encoder.Encode(messages))
}

func openAll(path string) {
	var messages []message
	check(json.Unmarshal(must(os.ReadFile(path)), &messages))
	for _, m := range messages {
		open(m)
	}
	fmt.Printf("%d messages opened by Go\n", len(messages))
}

func open(m message) {
	for _, each := range kems {
		if each.alg != m.Alg {
			continue
		}
		private := must(each.kem.NewPrivateKey(unhex(m.Private)))
		if hex.EncodeToString(private.PublicKey().Bytes()) != m.Public {
			check(fmt.Errorf("%s: another public key", m.Alg))
		}
		wrapped := unhex(m.Wrapped)
		encBytes := map[uint16]int{0x0020: 32, 0x0041: 1088, 0x0042: 1568, 0x647a: 1120}[each.kem.ID()]
		recipient := must(hpke.NewRecipient(wrapped[:encBytes], private, hpke.HKDFSHA256(), hpke.AES256GCM(), unhex(m.Info)))
		plaintext := must(recipient.Open(unhex(m.Aad), wrapped[encBytes:]))
		if !bytes.Equal(plaintext, unhex(m.Plaintext)) {
			check(fmt.Errorf("%s: another plaintext", m.Alg))
		}
		return
	}
	check(fmt.Errorf("no KEM %s", m.Alg))
}

func random(bytes int) []byte {
	made := make([]byte, bytes)
	rand.Read(made)
	return made
}

func unhex(text string) []byte {
	return must(hex.DecodeString(text))
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
