// Command main seals and opens age files by filippo.io/age, as a line of JSON on standard input asks, with a line for each answer.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

type question struct {
	// generate, seal or open.
	Do string `json:"do"`
	// Of generate: x25519 or hybrid.
	Kind       string   `json:"kind"`
	Recipients []string `json:"recipients"`
	Identities []string `json:"identities"`
	Passphrase string   `json:"passphrase"`
	LogN       int      `json:"log_n"`
	Armoured   bool     `json:"armoured"`
	Bytes      []byte   `json:"bytes"`
}

type answer struct {
	Identity  string `json:"identity,omitempty"`
	Recipient string `json:"recipient,omitempty"`
	Bytes     []byte `json:"bytes"`
	Error     string `json:"error,omitempty"`
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		var asked question
		if err == nil {
			err = json.Unmarshal(line, &asked)
		}
		var given answer
		if err == nil {
			given, err = carryOut(asked)
		}
		if err != nil {
			given = answer{Error: err.Error()}
		}
		if err := answers.Encode(given); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func carryOut(asked question) (answer, error) {
	switch asked.Do {
	case "generate":
		return generate(asked.Kind)
	case "seal":
		sealed, err := seal(asked)
		return answer{Bytes: sealed}, err
	case "open":
		opened, err := open(asked)
		return answer{Bytes: opened}, err
	}
	return answer{}, fmt.Errorf("nothing is called %q", asked.Do)
}

func generate(kind string) (answer, error) {
	if kind == "hybrid" {
		identity, err := age.GenerateHybridIdentity()
		if err != nil {
			return answer{}, err
		}
		return answer{Identity: identity.String(), Recipient: identity.Recipient().String()}, nil
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return answer{}, err
	}
	return answer{Identity: identity.String(), Recipient: identity.Recipient().String()}, nil
}

func seal(asked question) ([]byte, error) {
	recipients, err := recipientsOf(asked)
	if err != nil {
		return nil, err
	}
	var file bytes.Buffer
	var armoured io.WriteCloser
	var to io.Writer = &file
	if asked.Armoured {
		armoured = armor.NewWriter(&file)
		to = armoured
	}
	sealed, err := age.Encrypt(to, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := sealed.Write(asked.Bytes); err != nil {
		return nil, err
	}
	if err := sealed.Close(); err != nil {
		return nil, err
	}
	if armoured != nil {
		err = armoured.Close()
	}
	return file.Bytes(), err
}

func recipientsOf(asked question) ([]age.Recipient, error) {
	if asked.Passphrase == "" {
		return age.ParseRecipients(strings.NewReader(strings.Join(asked.Recipients, "\n")))
	}
	recipient, err := age.NewScryptRecipient(asked.Passphrase)
	if err != nil {
		return nil, err
	}
	if asked.LogN != 0 {
		recipient.SetWorkFactor(asked.LogN)
	}
	return []age.Recipient{recipient}, nil
}

func open(asked question) ([]byte, error) {
	identities, err := identitiesOf(asked)
	if err != nil {
		return nil, err
	}
	var file io.Reader = bytes.NewReader(asked.Bytes)
	if bytes.HasPrefix(asked.Bytes, []byte(armor.Header)) {
		file = armor.NewReader(file)
	}
	opened, err := age.Decrypt(file, identities...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(opened)
}

func identitiesOf(asked question) ([]age.Identity, error) {
	if asked.Passphrase == "" {
		return age.ParseIdentities(strings.NewReader(strings.Join(asked.Identities, "\n")))
	}
	identity, err := age.NewScryptIdentity(asked.Passphrase)
	return []age.Identity{identity}, err
}
