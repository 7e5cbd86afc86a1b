//! Files that OP-TEE wrote, under a storage key of bytes of 7: an object of 5,000 bytes, of which 200 were written once more,
//! and which was renamed then.

use crate::directory::Directory;
use crate::testing::objects::{Action, act, bytes};
use crate::testing::{TA, World, id};

fn text(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|i| (i / 7) as u8 ^ seed).collect()
}

#[test]
fn files_of_op_tee_are_read_and_gone_on_with() {
    let mut world = World::default();
    let files: [(&str, &[u8]); 2] = [
        ("dirf.db", include_bytes!("optee/dirf.db")),
        ("0", include_bytes!("optee/0")),
    ];
    world.files = files
        .map(|(name, file)| (name.to_owned(), file.to_vec()))
        .into();
    let mut directory = Directory::new();
    let mut expected = text(5000, 1);
    expected[4000..4200].copy_from_slice(&text(200, 2));
    let found = bytes(&mut world, &mut directory, TA, &id("a"));
    assert!(found == Ok(Some(expected.clone())));
    assert_eq!(bytes(&mut world, &mut directory, TA, &id("b")), Ok(None));
    let action = Action::Write {
        id: id("a"),
        at: 6000,
        bytes: vec![9; 9],
    };
    act(&mut world, &mut directory, TA, &action).unwrap();
    expected.resize(6000, 0);
    expected.extend([9; 9]);
    directory = Directory::new();
    let found = bytes(&mut world, &mut directory, TA, &id("a"));
    assert!(found == Ok(Some(expected)));
}
