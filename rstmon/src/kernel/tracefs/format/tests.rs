//! Formats of real kernels, and texts that are none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> TracepointFormat {
    TracepointFormat::parse(text).unwrap()
}

#[test]
fn a_record_with_socket_addresses_resolves_into_them() {
    // Read from a running 6.18, the print format left out.
    let format = parse(include_str!("../fixtures/linux-6.18-tcp_send_reset.format"));
    assert_eq!(format.name, "tcp_send_reset");
    assert_eq!(format.id, 2280);
    let expected = RecordLayout {
        skbaddr: 8,
        skaddr: 16,
        state: 24,
        reason: 28,
        family: 32,
        sport: 34,
        dport: 62,
        saddr: 36,
        daddr: 64,
        saddr_v6: 40,
        daddr_v6: 68,
        ports_are_network_order: 1,
        ..RecordLayout::NONE
    };
    assert_eq!(format.resolve_record(), expected);
}

#[test]
fn received_resets_keep_the_older_form() {
    let format = parse(include_str!(
        "../fixtures/linux-6.18-tcp_receive_reset.format"
    ));
    let expected = RecordLayout {
        skaddr: 8,
        sport: 16,
        dport: 18,
        family: 20,
        saddr: 22,
        daddr: 26,
        saddr_v6: 30,
        daddr_v6: 46,
        sock_cookie: 64,
        ..RecordLayout::NONE
    };
    assert_eq!(format.resolve_record(), expected);
}

#[test]
fn state_changes_are_resolved_with_either_width_of_the_protocol() {
    let newer = parse(include_str!(
        "../fixtures/linux-6.18-inet_sock_set_state.format"
    ))
    .resolve_record();
    assert_eq!((newer.protocol, newer.protocol_u8), (30, ABSENT));
    assert_eq!((newer.oldstate, newer.newstate), (16, 20));
    assert_eq!((newer.saddr, newer.daddr_v6), (32, 56));

    let older = parse(include_str!(
        "../fixtures/linux-5.4-inet_sock_set_state.format"
    ))
    .resolve_record();
    assert_eq!((older.protocol, older.protocol_u8), (ABSENT, 30));
    assert_eq!((older.saddr, older.daddr_v6), (31, 55));
}

#[test]
fn old_sent_resets_have_host_order_ports_and_no_reason() {
    let linux_5_4 = parse(include_str!("../fixtures/linux-5.4-tcp_send_reset.format"));
    let expected = RecordLayout {
        skbaddr: 8,
        skaddr: 16,
        state: 24,
        sport: 28,
        dport: 30,
        saddr: 32,
        daddr: 36,
        saddr_v6: 40,
        daddr_v6: 56,
        ..RecordLayout::NONE
    };
    assert_eq!(linux_5_4.resolve_record(), expected);

    let linux_5_15 = parse(include_str!("../fixtures/linux-5.15-tcp_send_reset.format"));
    let record = linux_5_15.resolve_record();
    assert_eq!((record.family, record.saddr, record.daddr_v6), (32, 34, 58));

    let received = parse(include_str!(
        "../fixtures/linux-5.4-tcp_receive_reset.format"
    ))
    .resolve_record();
    assert_eq!((received.family, received.saddr), (ABSENT, 20));
    assert_eq!(received.sock_cookie, 64);
}

#[test]
fn dropped_packets_tell_by_their_fields_what_the_tracepoint_has() {
    let format = parse(include_str!("../fixtures/linux-6.18-kfree_skb.format"));
    assert!(format.member("reason").is_some());
    assert!(format.member("rx_sk").is_some());
    assert!(format.member("skaddr").is_none());
}

#[test]
fn names_are_found_behind_pointers_and_array_bounds() {
    let format = parse(
        "name: x\nID: 1\nformat:\n\
         \tfield:__data_loc char[] who;\toffset:8;\tsize:4;\tsigned:0;\n\
         \tfield:const void *skaddr;\toffset:16;\tsize:8;\tsigned:0;\n\
         \tfield:u8 saddr[4];\toffset:24;\tsize:8;\tsigned:0;\n",
    );
    let names: Vec<_> = format.members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["who", "skaddr", "saddr"]);
    // Eight bytes where four are read: another field than the programs know.
    assert_eq!(format.resolve_record().saddr, ABSENT);
}

#[test]
fn what_is_no_format_is_told() {
    fn error(text: &str) -> String {
        TracepointFormat::parse(text).unwrap_err().to_string()
    }
    assert_eq!(error(""), "the format has no line `field:`");
    let field = "\tfield:int a;\toffset:8;\tsize:4;\tsigned:1;\n";
    assert_eq!(error(field), "the format has no line `name:`");
    assert_eq!(
        error(&format!("name: x\n{field}")),
        "the format has no line `ID:`"
    );
    assert_eq!(
        error("ID: many\n"),
        "line 1 of the format cannot be read: ID: many"
    );
    for broken in [
        "field:int a;\toffset:8;",
        "field:int a;\toffset:65530;\tsize:5;",
        "field:int a;\toffset:65535;\tsize:1;",
        "field:;\toffset:8;\tsize:4;",
        "field:int a;\toffset:-8;\tsize:4;",
        "field:",
    ] {
        assert!(error(broken).starts_with("line 1"), "{broken}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(name|ID|field|:|;|\t|\n|offset|size|saddr|[0-9\\[\\] *]|\\PC){0,60}") {
        if let Ok(format) = TracepointFormat::parse(&text) {
            let _ = format.resolve_record();
        }
    }

    #[test]
    fn no_offset_of_a_socket_address_overflows(offset in 0_u16..) {
        let text = format!(
            "name: x\nID: 1\nfield:u8 saddr[28]; offset:{offset}; size:28;\n\
             field:u8 daddr[28]; offset:{offset}; size:28;\n"
        );
        if let Ok(format) = TracepointFormat::parse(&text) {
            prop_assert!(format.resolve_record().daddr_v6 < ABSENT);
        }
    }
}
