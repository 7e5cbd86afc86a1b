//! Random numbers for the normal world.

use super::*;

/// Asks for so many bytes: the result, the size that comes back, and the bytes there.
fn entropy(world: &World, session: u32, len: u64) -> (TeeResult, u64, Vec<u8>) {
    world.write(CLIENT, &[0; 8192]);
    let buffer = memref(attr::TMEM_INOUT, CLIENT.0, len, 0);
    let reply = world.invoke(session, rng::CMD_GET_ENTROPY, &[buffer]);
    (reply.result, reply.params[0].b, world.read(CLIENT, 8192))
}

#[test]
fn a_request_is_filled_whole_and_not_one_byte_further() {
    with(rng::UUID, |world, session| {
        for len in [0, 1, 255, 256, 257, 1000, rng::MAX_BYTES] {
            let (result, told, bytes) = entropy(world, session, len);
            assert_eq!((result, told), (TeeResult::SUCCESS, len));
            let (filled, rest) = bytes.split_at(len as usize);
            assert!(rest.iter().all(|byte| *byte == 0), "{len}");
            // The model's bytes are random, too.
            let zeros = filled.iter().filter(|byte| **byte == 0).count();
            assert!(zeros <= 2 + filled.len() / 32, "{zeros} zeros of {len}");
        }
        let (_, _, first) = entropy(world, session, 64);
        let (_, _, second) = entropy(world, session, 64);
        assert_ne!(first, second);
    });
}

#[test]
fn what_is_no_request_for_random_numbers_gets_none() {
    with(rng::UUID, |world, session| {
        let (result, _, bytes) = entropy(world, session, rng::MAX_BYTES + 1);
        assert_eq!(result, TeeResult::NOT_SUPPORTED);
        assert!(bytes.iter().all(|byte| *byte == 0));
        for (command, params) in [
            (rng::CMD_GET_ENTROPY, vec![]),
            (rng::CMD_GET_ENTROPY, vec![out(64)]),
            (rng::CMD_GET_RNG_INFO, vec![out(64)]),
            (2, vec![]),
        ] {
            let reply = world.invoke(session, command, &params);
            assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
        }
    });
}

#[test]
fn the_rate_is_measured_and_next_to_no_entropy_is_vouched_for() {
    with(rng::UUID, |world, session| {
        let params = [value(attr::VALUE_OUTPUT, 0, 0)];
        let reply = world.invoke(session, rng::CMD_GET_RNG_INFO, &params);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        let [rate] = reply.params[..] else { panic!() };
        // The model makes any bytes within one tick, of which there are a million a second.
        assert_eq!(rate.a, 256 * 1_000_000);
        assert_eq!(rate.b, 1);
    });
}
