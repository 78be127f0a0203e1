use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// HMAC-SHA-256 (RFC 2104) with its key already processed, cloned for each message. The states are wiped when
/// dropped.
///
/// Implemented here because it is a few lines over SHA-256; the `hmac` crate adds two dependencies that nothing else
/// needs.
#[derive(Clone)]
pub(crate) struct HmacSha256 {
    inner: Sha256,
    outer: Sha256,
}

/// The length of a block of SHA-256.
const BLOCK: usize = 64;

impl HmacSha256 {
    /// A key of any length; a key longer than a block is digested first.
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0_u8; BLOCK]);
        if key.len() > BLOCK {
            block[..32].copy_from_slice(Zeroizing::new(<[u8; 32]>::from(Sha256::digest(key))).as_slice());
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let padded = |pad: u8| {
            let mut state = Sha256::new();
            state.update(Zeroizing::new(block.map(|byte| byte ^ pad)).as_slice());
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    pub(crate) fn update(&mut self, message: &[u8]) {
        self.inner.update(message);
    }

    pub(crate) fn finalize(mut self) -> [u8; 32] {
        self.outer.update(self.inner.finalize());
        self.outer.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_cases_of_rfc_4231() {
        // Cases 1, 2, 3, 6 and 7.
        for (key, message, hex) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. The key needs \
                  to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ] {
            let mut hmac = HmacSha256::new(key);
            hmac.update(message);
            let written: String = hmac.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(written, hex);
        }
    }

    #[test]
    fn splitting_a_message_changes_nothing_and_a_key_of_one_block_is_used_unchanged() {
        let (mut whole, mut pieces) = (HmacSha256::new(&[7; BLOCK]), HmacSha256::new(&[7; BLOCK]));
        whole.update(b"one two");
        pieces.update(b"one");
        pieces.update(b" two");
        assert_eq!(whole.finalize(), pieces.finalize());
        assert_ne!(HmacSha256::new(&[7; BLOCK]).finalize(), HmacSha256::new(&[7; BLOCK + 1]).finalize());
    }

    #[test]
    fn the_keyed_states_are_wiped_on_drop() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Sha256>();
    }
}
