//! Programs of others on interfaces, attached as libbpf does it.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use tortie_kernel_net::{Direction, NewLink, VethPeer};
use tortie_test_netns::{Node, isolated};

/// `BPF_PROG_LOAD` of two instructions for `BPF_PROG_TYPE_SCHED_CLS`: let the packet go on.
fn load() -> OwnedFd {
    // r0 = TC_ACT_UNSPEC; exit
    let program: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
    let license = c"GPL";
    let mut attributes = [0_u64; 16];
    attributes[0] = 3 | (2 << 32);
    attributes[1] = program.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    #[expect(unsafe_code, reason = "there is no other way to load a program")]
    // SAFETY: the kernel reads the attributes, the instructions and the text, all of which live until it returns; what
    // it answers is a descriptor that nobody else has.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, 5, attributes.as_ptr(), size_of_val(&attributes));
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(fd).unwrap())
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `RTM_NEWTFILTER` with `direct-action`, in the network namespace of the caller.
fn attach(link: u32, direction: Direction, name: &str) {
    let program = load();
    let parent: u32 = if direction == Direction::Ingress { 0xffff_fff2 } else { 0xffff_fff3 };
    let options = [
        attribute(6, &program.as_raw_fd().to_ne_bytes()),
        attribute(7, &[name.as_bytes(), &[0]].concat()),
        attribute(8, &1_u32.to_ne_bytes()),
    ];
    let mut body = vec![0; 4];
    body.extend(link.to_ne_bytes());
    body.extend(1_u32.to_ne_bytes());
    body.extend(parent.to_ne_bytes());
    // Priority 1, all protocols.
    body.extend((1_u32 << 16 | u32::from(3_u16.to_be())).to_ne_bytes());
    body.extend(attribute(1, b"bpf\0"));
    body.extend(attribute(2, &options.concat()));
    let mut bytes = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(44_u16.to_ne_bytes());
    // NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE
    bytes.extend(0x605_u16.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .unwrap();
    sendto(socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty()).unwrap();
    let mut answer = [0; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
    let code = i32::from_ne_bytes(*answer[..length].get(16..).unwrap().first_chunk().unwrap());
    assert_eq!(code, 0, "the kernel refuses a program on an interface");
}

#[test]
fn programs_are_seen_and_taken_off_one_by_one() {
    isolated(|| {
        let node = Node::new("node");
        let link = node.netlink().add_link(&NewLink::veth("cali1", VethPeer::new("far"))).unwrap();
        assert_eq!(node.netlink().programs(link.index).unwrap(), [], "nothing to hang them on");
        node.exec("tc", &["qdisc", "add", "dev", "cali1", "clsact"]);
        assert_eq!(node.netlink().programs(link.index).unwrap(), []);
        for (direction, name) in
            [(Direction::Ingress, "cali_tc_preambl:[31]"), (Direction::Egress, "somebody_elses")]
        {
            node.run(|| attach(link.index.0, direction, name));
        }
        let found = node.netlink().programs(link.index).unwrap();
        let names: Vec<_> = found.iter().map(|p| (p.direction, p.name.as_str())).collect();
        assert_eq!(
            names,
            [(Direction::Ingress, "cali_tc_preambl:[31]"), (Direction::Egress, "somebody_elses")]
        );
        node.netlink().delete_program(&found[0]).unwrap();
        let left = node.netlink().programs(link.index).unwrap();
        assert_eq!(left, found[1..]);
        assert!(node.netlink().delete_program(&found[0]).unwrap_err().is_missing());
        assert!(node.exec("tc", &["filter", "show", "dev", "cali1", "egress"]).contains("somebody_elses"));
    });
}
