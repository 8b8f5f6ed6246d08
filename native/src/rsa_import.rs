//! RSA-OAEP with AES key wrap, as PKCS#11 (CKM_RSA_AES_KEY_WRAP), AWS KMS and Vault import keys: an AES-256 key under RSAES-OAEP
//! (RFC 8017) with SHA-256 and MGF1 with SHA-256, then the key material under it by RFC 5649.

use crate::aes;
use crate::awslc_heap::in_arena;
use crate::evp::{EvpKey, EvpKind, clear_errors};
use crate::failure::Status;
use crate::keys;
use aws_lc_sys as lc;

impl EvpKey {
    /// Into the front of `out`, which is as long as `material`. Whatever does not open is one answer.
    pub fn unwrap_aes_key_wrap(&self, material: &[u8], out: &mut [u8]) -> Result<usize, Status> {
        let EvpKind::Rsa(bits) = self.kind() else { return Err(Status::KeyUnusable) };
        let modulus_bytes = bits as usize / 8;
        let (encrypted_key, wrapped) = material.split_at_checked(modulus_bytes).ok_or(Status::Rejected)?;
        // OAEP decryption needs room for a whole modulus.
        let mut key = keys::alloc(modulus_bytes).map_err(|_| Status::Internal)?;
        let opened =
            in_arena(|| self.decrypt_oaep(encrypted_key, key.bytes_mut())).map_err(|_| Status::Internal)?;
        if opened != Some(aes::KEY_BYTES) {
            clear_errors();
            return Err(Status::Rejected);
        }
        aes::unwrap(&key.bytes()[..aes::KEY_BYTES], wrapped, out)
    }

    fn decrypt_oaep(&self, ciphertext: &[u8], out: &mut [u8]) -> Option<usize> {
        let mut written = out.len();
        // SAFETY: the context is made, used and released here; lengths are those of the slices.
        unsafe {
            let context = lc::EVP_PKEY_CTX_new(self.pointer(), std::ptr::null_mut());
            let done = !context.is_null()
                && lc::EVP_PKEY_decrypt_init(context) == 1
                && lc::EVP_PKEY_CTX_set_rsa_padding(context, lc::RSA_PKCS1_OAEP_PADDING as i32) == 1
                && lc::EVP_PKEY_CTX_set_rsa_oaep_md(context, lc::EVP_sha256()) == 1
                && lc::EVP_PKEY_CTX_set_rsa_mgf1_md(context, lc::EVP_sha256()) == 1
                && lc::EVP_PKEY_decrypt(
                    context,
                    out.as_mut_ptr(),
                    &mut written,
                    ciphertext.as_ptr(),
                    ciphertext.len(),
                ) == 1;
            lc::EVP_PKEY_CTX_free(context);
            done.then_some(written)
        }
    }
}
