// Connects to a TLS listener and prints what was negotiated. Only the standard library of Go 1.26.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	url, authority := os.Args[1], os.Args[2]
	pem, err := os.ReadFile(authority)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	response, err := client.Get(url)
	check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err)
	state := response.TLS
	fmt.Printf("%d %s\n%s\n%s\n", response.StatusCode, body, tls.VersionName(state.Version), state.CurveID)
	if state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
