// Reads an exported log with what others wrote: golang.org/x/mod/sumdb (note, tlog), tessera's fsck,
// transparency-dev/formats and transparency-dev/merkle. Nothing of the service is used.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	fmtlog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	fproof "github.com/transparency-dev/formats/proof"
	mproof "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func check(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(2)
	}
}

func done(started time.Time, format string, args ...any) {
	fmt.Printf("%-28s %s (%.1f s)\n", strings.SplitN(format, "|", 2)[0],
		fmt.Sprintf(strings.SplitN(format, "|", 2)[1], args...), time.Since(started).Seconds())
}

// tiles reads a directory as x/mod asks for tiles; its paths have the height of tiles, tlog-tiles' have not.
type tiles struct{ root string }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.root, path))
		if os.IsNotExist(err) && tile.W < 256 {
			full := tile
			full.W = 256
			data, err = os.ReadFile(filepath.Join(t.root, strings.Replace(full.Path(), "tile/8/", "tile/", 1)))
			if err == nil {
				data = data[:tile.W*32]
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func entry(root string, size, index int64) []byte {
	partial := uint8(0)
	if index/256 == size/256 {
		partial = uint8(size % 256)
	}
	data, err := (&client.FileFetcher{Root: root}).ReadEntryBundle(context.Background(), uint64(index/256), partial)
	check(err, "bundle")
	bundle := api.EntryBundle{}
	check(bundle.UnmarshalText(data), "bundle")
	return bundle.Entries[index%256]
}

func leafHashes(data []byte) ([][]byte, error) {
	bundle := api.EntryBundle{}
	if err := bundle.UnmarshalText(data); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, e := range bundle.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return hashes, nil
}

// flipped is a log with one bit changed in one bundle.
type flipped struct {
	client.FileFetcher
	bundle uint64
}

func (f *flipped) ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error) {
	data, err := f.FileFetcher.ReadEntryBundle(ctx, index, p)
	if err == nil && index == f.bundle {
		data[100] ^= 1
	}
	return data, err
}

func main() {
	root, keysFile, olderFile, proofFile, entryFile := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	keysText, err := os.ReadFile(keysFile)
	check(err, "keys")
	keys := strings.Fields(string(keysText))
	ed25519Key, mlDSAKey, witnessKeys := keys[0], keys[1], keys[2:]
	checkpoint, err := os.ReadFile(filepath.Join(root, "checkpoint"))
	check(err, "checkpoint")
	older, err := os.ReadFile(olderFile)
	check(err, "older checkpoint")

	// golang.org/x/mod/sumdb/note and tlog
	started := time.Now()
	verifier, err := note.NewVerifier(ed25519Key)
	check(err, "x/mod vkey")
	opened, err := note.Open(checkpoint, note.VerifierList(verifier))
	check(err, "x/mod note")
	origin, rest, _ := strings.Cut(opened.Text, "\n")
	// tlog.ParseTree knows one origin, go.sum database tree; the other two lines are the same.
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + rest))
	check(err, "x/mod tree")
	done(started, "x/mod note|%d of %d signatures known, size %d", len(opened.Sigs), len(opened.Sigs)+len(opened.UnverifiedSigs), tree.N)

	started = time.Now()
	reader := tlog.TileHashReader(tree, tiles{root})
	rootHash, err := tlog.TreeHash(tree.N, reader)
	check(err, "x/mod tree hash")
	if rootHash != tree.Hash {
		check(fmt.Errorf("%v is not %v", rootHash, tree.Hash), "x/mod root")
	}
	indexes := []int64{0, 255, 256, 65535, 65536, tree.N / 2, tree.N - 1}
	proven := 0
	for _, index := range indexes {
		if index >= tree.N {
			continue
		}
		path, err := tlog.ProveRecord(tree.N, index, reader)
		check(err, "x/mod prove")
		check(tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry(root, tree.N, index))), "x/mod record")
		proven++
	}
	olderNote, err := note.Open(older, note.VerifierList(verifier))
	check(err, "x/mod older note")
	_, olderRest, _ := strings.Cut(olderNote.Text, "\n")
	olderTree, err := tlog.ParseTree([]byte("go.sum database tree\n" + olderRest))
	check(err, "x/mod older tree")
	consistency, err := tlog.ProveTree(tree.N, olderTree.N, reader)
	check(err, "x/mod prove tree")
	check(tlog.CheckTree(consistency, tree.N, tree.Hash, olderTree.N, olderTree.Hash), "x/mod consistency")
	done(started, "x/mod tlog|root, %d records, and that size %d continues into %d", proven, olderTree.N, tree.N)

	// transparency-dev/formats: every signature, the offline proof
	started = time.Now()
	mlDSA, err := fnote.NewVerifier(mlDSAKey)
	check(err, "formats ML-DSA-44 vkey")
	others := []note.Verifier{mlDSA}
	for _, key := range witnessKeys {
		witness, err := fnote.NewVerifier(key)
		check(err, "formats witness vkey")
		others = append(others, witness)
	}
	parsed, _, full, err := fmtlog.ParseCheckpoint(checkpoint, origin, verifier, others...)
	check(err, "formats checkpoint")
	if len(full.Sigs) != 1+len(others) {
		check(fmt.Errorf("%d of %d signatures", len(full.Sigs), 1+len(others)), "formats checkpoint")
	}
	done(started, "formats checkpoint|Ed25519, ML-DSA-44 and %d cosignatures", len(witnessKeys))
	started = time.Now()
	text, err := os.ReadFile(proofFile)
	check(err, "proof")
	record, err := os.ReadFile(entryFile)
	check(err, "record")
	var offline fproof.TLogProof
	check(offline.Unmarshal(text), "formats tlog-proof")
	var path [][]byte
	for _, hash := range offline.Hashes {
		path = append(path, hash[:])
	}
	proofTree, _, _, err := fmtlog.ParseCheckpoint(offline.Checkpoint, origin, verifier, others...)
	check(err, "formats checkpoint of the proof")
	check(mproof.VerifyInclusion(rfc6962.DefaultHasher, offline.Index, proofTree.Size, rfc6962.DefaultHasher.HashLeaf(record), path, proofTree.Hash), "merkle inclusion")
	if !bytes.Equal(offline.Marshal(), text) {
		check(fmt.Errorf("is written another way"), "formats tlog-proof")
	}
	done(started, "formats tlog-proof, merkle|record %d in %d", offline.Index, proofTree.Size)

	// tessera fsck: every bundle, every tile, the root
	started = time.Now()
	files := client.FileFetcher{Root: root}
	check(fsck.New(origin, verifier, &files, leafHashes, fsck.Opts{N: 2}).Check(context.Background()), "tessera fsck")
	done(started, "tessera fsck|%d records, every bundle and tile", parsed.Size)
	started = time.Now()
	damaged := flipped{files, uint64(tree.N / 512)}
	// A worker ends at its first difference; with more of them than there are levels, none is waited for in vain.
	if fsck.New(origin, verifier, &damaged, leafHashes, fsck.Opts{N: 16}).Check(context.Background()) == nil {
		check(fmt.Errorf("one changed bit went unnoticed"), "tessera fsck")
	}
	done(started, "tessera fsck|refuses the same log with one bit of bundle %d changed", damaged.bundle)
}
