//! The way through a machine's instructions gives what the portable code gives: here the instructions are a model of them.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use sha2::digest::generic_array::GenericArray;
use std::sync::atomic::{AtomicUsize, Ordering};
use tally_crypto::symmetric::Direction;
use tally_crypto::symmetric::instructions::{
    AesMode, Block, GhashKey, Instructions, RoundKeys, register,
};
use tally_crypto::symmetric::sample::{EXPECTED, TEXT, sample};

/// Instructions by other crates. The key itself takes the place of round keys.
struct Model {
    calls: AtomicUsize,
}

impl Model {
    fn count(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

fn aes_block(keys: &RoundKeys, direction: Direction, block: &mut Block) {
    fn with(
        cipher: &(impl BlockCipherEncrypt + BlockCipherDecrypt),
        direction: Direction,
        block: &mut Block,
    ) {
        let block = block.as_mut_slice().try_into();
        match (direction, block) {
            (Direction::Encrypt, Ok(block)) => cipher.encrypt_block(block),
            (Direction::Decrypt, Ok(block)) => cipher.decrypt_block(block),
            (_, Err(_)) => unreachable!("another length of blocks"),
        }
    }
    let key = keys.keys.as_flattened();
    match keys.rounds {
        10 => with(
            &Aes128::new_from_slice(&key[..16]).unwrap(),
            direction,
            block,
        ),
        12 => with(
            &Aes192::new_from_slice(&key[..24]).unwrap(),
            direction,
            block,
        ),
        _ => with(
            &Aes256::new_from_slice(&key[..32]).unwrap(),
            direction,
            block,
        ),
    }
}

fn xor(a: Block, b: Block) -> Block {
    (u128::from_ne_bytes(a) ^ u128::from_ne_bytes(b)).to_ne_bytes()
}

impl Instructions for Model {
    fn sha1(&self, state: &mut [u32; 5], blocks: &[[u8; 64]]) -> bool {
        self.count();
        sha1::block_api::compress(state, blocks);
        true
    }

    fn sha256(&self, state: &mut [u32; 8], blocks: &[[u8; 64]]) -> bool {
        self.count();
        for block in blocks {
            sha2::compress256(state, &[*<&GenericArray<_, _>>::from(block)]);
        }
        true
    }

    fn sha512(&self, _: &mut [u64; 8], _: &[[u8; 128]]) -> bool {
        false
    }

    fn keccak(&self, lanes: &mut [u64; 25]) -> bool {
        self.count();
        keccak::Keccak::new().with_f1600(|f1600| f1600(lanes));
        true
    }

    fn round_keys(&self, key: &[u8], keys: &mut RoundKeys) -> bool {
        self.count();
        keys.keys.as_flattened_mut()[..key.len()].copy_from_slice(key);
        keys.rounds = (key.len() / 4 + 6) as u8;
        true
    }

    fn aes(&self, keys: &RoundKeys, mut mode: AesMode<'_>, blocks: &mut [Block]) {
        for block in blocks {
            match &mut mode {
                AesMode::Ecb(direction) => aes_block(keys, *direction, block),
                AesMode::Cbc(Direction::Encrypt, chain) => {
                    *block = xor(*block, **chain);
                    aes_block(keys, Direction::Encrypt, block);
                    **chain = *block;
                }
                AesMode::Cbc(Direction::Decrypt, chain) => {
                    let next = *block;
                    aes_block(keys, Direction::Decrypt, block);
                    *block = xor(*block, **chain);
                    **chain = next;
                }
                AesMode::Ctr(counter) => {
                    let mut stream = counter.to_be_bytes();
                    aes_block(keys, Direction::Encrypt, &mut stream);
                    *block = xor(*block, stream);
                    // As the machine: the lower half alone counts.
                    let low = (*counter as u64).wrapping_add(1);
                    *counter = *counter >> 64 << 64 | u128::from(low);
                }
                AesMode::Xts(direction, tweak) => {
                    *block = xor(*block, **tweak);
                    aes_block(keys, *direction, block);
                    *block = xor(*block, **tweak);
                    let value = u128::from_le_bytes(**tweak);
                    **tweak = ((value << 1) ^ ((value >> 127) * 0x87)).to_le_bytes();
                }
            }
        }
    }

    fn aes_mac(&self, keys: &RoundKeys, chain: &mut Block, blocks: &[Block]) {
        for block in blocks {
            *chain = xor(*chain, *block);
            aes_block(keys, Direction::Encrypt, chain);
        }
    }

    fn ghash_key(&self, of: &Block, key: &mut GhashKey) -> bool {
        self.count();
        key.powers[0] = *of;
        true
    }

    fn ghash(&self, key: &GhashKey, hash: &mut Block, blocks: &[Block]) {
        for block in blocks {
            let mut next = GHash::new(&key.powers[0].into());
            next.update(&[xor(*hash, *block).into()]);
            *hash = next.finalize().into();
        }
    }
}

static MODEL: Model = Model {
    calls: AtomicUsize::new(0),
};

/// One test, since whatever is registered stays.
#[test]
fn instructions_give_what_the_portable_code_gives() {
    let mut text = vec![0; TEXT];
    assert_eq!(sample(&mut text), Ok(EXPECTED));
    assert_eq!(MODEL.calls.load(Ordering::Relaxed), 0);
    register(&MODEL);
    assert_eq!(sample(&mut text), Ok(EXPECTED));
    assert_ne!(MODEL.calls.load(Ordering::Relaxed), 0);
}
