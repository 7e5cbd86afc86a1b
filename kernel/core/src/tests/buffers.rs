//! Objects of buffers that the test-only fault loses.

use crate::guest_id::GuestId;
use crate::pta::buffers::{BufferObject, Buffers, Channel, RegionNode};
use crate::ta::instance::Instances;
use tally_mem::addr::{PhysAddr, PhysPage};

#[test]
fn the_fault_loses_what_a_channel_closed_early_had_and_nothing_else() {
    for (is_faulty, is_closed, lost) in [
        (true, true, 1),
        (true, false, 0),
        (false, true, 0),
        (false, false, 0),
    ] {
        let instance = Instances::<()>::absent(GuestId::FIRST).name(0, 1);
        let mut buffers = Buffers::<()>::new().unwrap();
        assert_eq!(buffers.set_faulty(is_faulty).len(), 0);
        let channel = Channel {
            id: 0,
            instance,
            session: 1,
            opened: (),
        };
        let [id, other] = [(); 2].map(|()| buffers.open(channel).unwrap());
        let node = RegionNode {
            number: 0,
            channel: id,
            slot: 0,
            generation: 1,
            first_page: 5,
            pages: 1,
            session: 1,
        };
        let object = BufferObject {
            first: PhysPage::containing(PhysAddr(0)),
            pages: 1,
            at_ms: 0,
            number: 0,
        };
        buffers.add(instance, (), node, object).unwrap();
        let gone = if is_closed { id } else { other };
        assert!(buffers.remove_channel(gone).is_some());
        let at = buffers.find_by_channel(id).unwrap();
        let mapping = buffers.take(at);
        buffers.lose(mapping);
        assert_eq!(buffers.set_faulty(false).len(), lost);
        assert_eq!(buffers.set_faulty(false).len(), 0, "once");
    }
}
