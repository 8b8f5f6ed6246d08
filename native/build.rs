fn main() {
    napi_build::setup();
    // liboqs frees its Keccak states without clearing them, and after key generation such a state holds the
    // private half of the expanded seed. Every call to the free goes to src/mldsa.rs, which clears first.
    println!("cargo:rustc-link-arg=-Wl,--wrap=OQS_MEM_aligned_free");
    // Node unloads an addon when the last environment that loaded it ends. The keys live in this image's
    // statics and mappings, so it must outlive every worker thread.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
