//! What goes on the wire, and what is recognised of what comes from it.

use super::*;

const NONCE: Nonce = Nonce { run: 0x0102_0304_0506_0708, number: 0x1112_1314_1516_1718 };

#[test]
fn payloads_are_recognised_by_their_mark() {
    let bytes = payload(FLOOD_MARK, NONCE);
    assert_eq!(parse_payload(FLOOD_MARK, &bytes), Some(NONCE));
    assert_eq!(parse_payload(PROBE_MARK, &bytes), None);
    for length in 0..PAYLOAD {
        assert_eq!(parse_payload(FLOOD_MARK, &bytes[..length]), None);
    }
}

#[test]
fn identities_are_whole_lines() {
    assert_eq!(parse_identity(identity("ns/pod", 80).as_bytes()), Some("ns/pod"));
    assert_eq!(parse_identity(b"ns/pod 80"), None);
    assert_eq!(parse_identity(b"\n"), None);
    assert_eq!(parse_identity(&[0xff, b' ', b'\n']), None);
}

#[test]
fn checksums_sum_to_zero() {
    // The receiver's rule: the sum over everything including the checksum is all ones.
    assert_eq!(checksum(0, &echo_request(Family::V4, PROBE_MARK, NONCE)), 0);
    for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let bytes = syn(from, to, 1000, 80, NONCE);
        assert_eq!(checksum(sum(&octets(from)) + sum(&octets(to)) + 6 + bytes.len() as u32, &bytes), 0);
    }
    // RFC 1071, section 3.
    assert_eq!(checksum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
}

#[test]
fn only_echo_replies_count() {
    for family in Family::ALL {
        let request = echo_request(family, PROBE_MARK, NONCE);
        let (mut reply, ip_header) = match family {
            Family::V4 => ([&[0x45][..], &[0; 19], &request].concat(), 20),
            Family::V6 => (request.to_vec(), 0),
        };
        assert_eq!(parse_echo_reply(family, PROBE_MARK, &reply), None);
        reply[ip_header] = if family == Family::V4 { 0 } else { 129 };
        assert_eq!(parse_echo_reply(family, PROBE_MARK, &reply), Some(NONCE));
        for length in 0..reply.len() {
            assert_eq!(parse_echo_reply(family, PROBE_MARK, &reply[..length]), None);
        }
    }
}
