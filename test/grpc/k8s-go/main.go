// Command main drives a KMS v2 plugin as kube-apiserver does: through LoadEncryptionConfig of k8s.io/apiserver, which has the
// envelope transformer, its probe of Status and its checks of every answer.
//
//	write <config> <file>          three objects, encrypted and read again; the bytes of storage as JSON
//	read <config> <file> <stale>   the same objects read from them; <stale> is true after a rotation
//	unhealthy <config>             the health check has to fail
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

var secrets = schema.GroupResource{Resource: "secrets"}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch os.Args[1] {
	case "write":
		write(ctx, load(ctx, os.Args[2]), os.Args[3])
	case "read":
		stale, err := strconv.ParseBool(os.Args[4])
		check(err)
		read(ctx, load(ctx, os.Args[2]), os.Args[3], stale)
	case "unhealthy":
		config, err := encryptionconfig.LoadEncryptionConfig(ctx, os.Args[2], false, "intaglio")
		check(err)
		if healthy(ctx, config) == nil {
			fail("the health check passed")
		}
	default:
		fail("unknown command")
	}
	fmt.Println(os.Args[1], "ok")
}

func load(ctx context.Context, path string) *encryptionconfig.EncryptionConfiguration {
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, path, false, "intaglio")
	check(err)
	check(healthy(ctx, config))
	return config
}

func healthy(ctx context.Context, config *encryptionconfig.EncryptionConfiguration) error {
	for _, each := range config.HealthChecks {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/healthz", nil)
		check(err)
		if err := each.Check(request); err != nil {
			return err
		}
	}
	return nil
}

func objects() map[string][]byte {
	return map[string][]byte{
		"/registry/secrets/a": []byte("a"),
		"/registry/secrets/b": {},
		"/registry/secrets/c": bytes.Repeat([]byte("0123456789abcdef"), 60_000),
	}
}

func write(ctx context.Context, config *encryptionconfig.EncryptionConfiguration, path string) {
	transformer := config.Transformers[secrets]
	stored := map[string][]byte{}
	for name, plain := range objects() {
		kept, err := transformer.TransformToStorage(ctx, plain, value.DefaultContext(name))
		check(err)
		if !bytes.HasPrefix(kept, []byte("k8s:enc:kms:v2:intaglio:")) {
			fail("not encrypted by KMS v2")
		}
		stored[name] = kept
	}
	readAll(ctx, config, stored, false)
	text, err := json.Marshal(stored)
	check(err)
	check(os.WriteFile(path, text, 0o600))
}

func read(ctx context.Context, config *encryptionconfig.EncryptionConfiguration, path string, stale bool) {
	text, err := os.ReadFile(path)
	check(err)
	stored := map[string][]byte{}
	check(json.Unmarshal(text, &stored))
	readAll(ctx, config, stored, stale)
	// What is bound to one name is not another's.
	if _, _, err := config.Transformers[secrets].TransformFromStorage(ctx, stored["/registry/secrets/a"], value.DefaultContext("/registry/secrets/b")); err == nil {
		fail("an object was read under another name")
	}
}

func readAll(ctx context.Context, config *encryptionconfig.EncryptionConfiguration, stored map[string][]byte, wantStale bool) {
	for name, plain := range objects() {
		found, stale, err := config.Transformers[secrets].TransformFromStorage(ctx, stored[name], value.DefaultContext(name))
		check(err)
		if !bytes.Equal(found, plain) {
			fail("read something else: " + name)
		}
		if stale != wantStale {
			fail(fmt.Sprintf("%s: stale is %v", name, stale))
		}
	}
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}
