//! What the reader finds in good BTF, and how it refuses bad.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use super::fixtures::{Builder, HEADER_BYTES, bits_at, read_running_kernel};
use super::{Btf, BtfError, LookupError, Member, Parameter};

fn plain(offset_bytes: u32, size_bytes: u32) -> Member {
    Member {
        offset_bytes,
        bit_offset_in_byte: 0,
        bitfield_bits: None,
        size_bytes,
    }
}

fn bit_field(offset_bytes: u32, bit: u8, bits: u8, size_bytes: u32) -> Member {
    Member {
        offset_bytes,
        bit_offset_in_byte: bit,
        bitfield_bits: Some(bits),
        size_bytes,
    }
}

/// A bit of a kernel in which every kind of type occurs.
pub(super) fn small_kernel() -> Builder {
    let mut b = Builder::new();
    let u8_ = b.int("unsigned char", 1);
    let u16_ = b.int("unsigned short", 2);
    let u32_ = b.int("unsigned int", 4);
    let be32 = b.typedef("__be32", u32_);
    let pair = b.structure(
        "",
        8,
        &[("skc_daddr", be32, 0), ("skc_rcv_saddr", be32, 32)],
    );
    let u64_ = b.int("unsigned long", 8);
    let addresses = b.union("", 8, &[("skc_addrpair", u64_, 0), ("", pair, 0)]);
    let words = b.array(u32_, 4);
    let in6 = b.structure("in6_addr", 16, &[("u6_addr32", words, 0)]);
    let net = b.structure("net", 64, &[("inum", u32_, 96)]);
    let net_pointer = b.pointer(net);
    let possible_net = b.structure("", 8, &[("net", net_pointer, 0)]);
    let possible_net = b.typedef("possible_net_t", possible_net);
    let common = b.structure(
        "sock_common",
        48,
        &[
            ("", addresses, 0),
            ("skc_family", u16_, 64),
            ("skc_v6_daddr", in6, 128),
            ("skc_net", possible_net, 256),
        ],
    );
    let common = b.constant(common);
    let common = b.volatile(common);
    let common = b.restrict(common);
    let slots = b.array(common, 3);
    let socket = b.forward("socket");
    let socket = b.pointer(socket);
    b.structure(
        "sock",
        256,
        &[
            ("__sk_common", common, 0),
            ("sk_socket", socket, 384),
            ("slots", slots, 512),
        ],
    );
    b.flagged(
        "sk_buff",
        16,
        &[
            ("len", u32_, 0),
            ("pkt_type", u8_, bits_at(3, 33)),
            ("ip_summed", u8_, bits_at(2, 42)),
        ],
    );
    b.enumeration("sk_rst_reason", false, &[("NOT", 0), ("BIG", -1)]);
    b.enum64("wide", false, &[("LOW", 7), ("HIGH", 1 << 40)]);
    b.function("tcp_reset", &[("sk", net_pointer), ("how", u32_)]);
    b.tracepoint(
        "tcp_send_reset",
        &[("", net_pointer), ("", net_pointer), ("", u32_)],
    );
    b.raw("jiffies", 14 << 24, u32_, &[1]);
    b.raw(".data", 15 << 24 | 1, 4, &[u32_, 0, 4]);
    b.raw("double", 16 << 24, 8, &[]);
    b.raw("tag", 17 << 24, u32_, &[0]);
    b.raw("user", 18 << 24, u32_, &[]);
    b
}

#[test]
fn members_are_found_through_anonymous_members_typedefs_and_qualifiers() {
    let btf = small_kernel().parse();
    let member = |path| btf.member("sock", path).unwrap();
    assert_eq!(member("__sk_common.skc_daddr"), plain(0, 4));
    assert_eq!(member("__sk_common.skc_rcv_saddr"), plain(4, 4));
    assert_eq!(member("__sk_common.skc_family"), plain(8, 2));
    assert_eq!(member("__sk_common.skc_net.net"), plain(32, 8));
    assert_eq!(member("__sk_common"), plain(0, 48));
    assert_eq!(member("sk_socket"), plain(48, 8));
}

#[test]
fn an_array_has_its_whole_size_and_is_entered_at_its_first_element() {
    let btf = small_kernel().parse();
    assert_eq!(
        btf.member("sock", "__sk_common.skc_v6_daddr.u6_addr32"),
        Ok(plain(16, 16))
    );
    assert_eq!(btf.member("sock", "slots"), Ok(plain(64, 144)));
    assert_eq!(btf.member("sock", "slots.skc_family"), Ok(plain(72, 2)));
}

#[test]
fn bit_fields_of_both_encodings_give_the_byte_of_their_first_bit() {
    let flagged = small_kernel().parse();
    assert_eq!(flagged.member("sk_buff", "len"), Ok(plain(0, 4)));
    assert_eq!(
        flagged.member("sk_buff", "pkt_type"),
        Ok(bit_field(4, 1, 3, 1))
    );
    assert_eq!(
        flagged.member("sk_buff", "ip_summed"),
        Ok(bit_field(5, 2, 2, 1))
    );

    let mut b = Builder::new();
    let narrow = b.partial_int("unsigned int", 4, 0, 8);
    let shifted = b.partial_int("unsigned int", 4, 3, 2);
    let shifted = b.typedef("two_bits", shifted);
    b.structure(
        "sock",
        8,
        &[("sk_protocol", narrow, 48), ("sk_kern_sock", shifted, 32)],
    );
    let old = b.parse();
    assert_eq!(old.member("sock", "sk_protocol"), Ok(bit_field(6, 0, 8, 4)));
    assert_eq!(
        old.member("sock", "sk_kern_sock"),
        Ok(bit_field(4, 3, 2, 4))
    );
}

#[test]
fn of_definitions_with_one_name_the_one_that_has_the_path_counts() {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    b.forward("net");
    b.structure("net", 0, &[]);
    b.function("net", &[]);
    b.structure("net", 8, &[("other", int, 0)]);
    b.structure("net", 8, &[("other", int, 0), ("inum", int, 32)]);
    let btf = b.parse();
    assert_eq!(btf.member("net", "inum"), Ok(plain(4, 4)));
    assert!(btf.struct_exists("net"));
}

#[test]
fn a_structure_that_is_only_declared_does_not_exist() {
    let mut b = Builder::new();
    b.forward("net");
    b.structure("net", 0, &[]);
    let btf = b.parse();
    assert!(!btf.struct_exists("net"));
    let missing = LookupError::NoStructure {
        structure: "net".to_owned(),
    };
    assert_eq!(btf.member("net", "inum"), Err(missing));
}

#[test]
fn a_failed_lookup_says_which_part_of_the_path_failed() {
    let btf = small_kernel().parse();
    let said = |path| btf.member("sock", path).unwrap_err().to_string();
    assert_eq!(
        said("__sk_common.skc_cookie"),
        "struct sock has no member skc_cookie (of __sk_common.skc_cookie)"
    );
    assert_eq!(
        said("sk_socket.sk"),
        "sk_socket in struct sock has no members of its own (of sk_socket.sk)"
    );
    assert_eq!(said(""), "struct sock has no member  (of )");
    assert_eq!(
        btf.member("sk", "x").unwrap_err().to_string(),
        "the kernel has no struct sk"
    );
}

#[test]
fn a_member_of_a_type_without_size_has_no_size() {
    let mut b = Builder::new();
    let declared = b.forward("socket");
    b.structure("sock", 8, &[("declared", declared, 0), ("nothing", 0, 0)]);
    let btf = b.parse();
    for path in ["declared", "nothing"] {
        let error = btf.member("sock", path).unwrap_err();
        assert!(
            matches!(error, LookupError::NoSize { .. }),
            "{path}: {error}"
        );
    }
}

#[test]
fn enumerators_keep_their_sign_and_width() {
    let mut b = small_kernel();
    b.enumeration("signed", true, &[("MINUS", -5)]);
    b.enum64("signed_wide", true, &[("MINUS", -5)]);
    b.enumeration("declared", false, &[]);
    let btf = b.parse();
    assert_eq!(
        btf.enum_values("sk_rst_reason"),
        Some(vec![(0, "NOT"), (i64::from(u32::MAX), "BIG")])
    );
    assert_eq!(
        btf.enum_values("wide"),
        Some(vec![(7, "LOW"), (1 << 40, "HIGH")])
    );
    assert_eq!(btf.enum_values("signed"), Some(vec![(-5, "MINUS")]));
    assert_eq!(btf.enum_values("signed_wide"), Some(vec![(-5, "MINUS")]));
    assert_eq!(btf.enum_values("declared"), None);
    assert_eq!(btf.enum_values("sock"), None);
}

#[test]
fn functions_and_tracepoints_tell_their_parameters() {
    let mut b = small_kernel();
    b.function("printk", &[("fmt", 0), ("", 0)]);
    b.function("void_function", &[]);
    let btf = b.parse();
    let parameter = |name: &str, is_pointer| Parameter {
        name: name.to_owned(),
        is_pointer,
    };
    assert_eq!(
        btf.function_parameters("tcp_reset"),
        Some(vec![parameter("sk", true), parameter("how", false)])
    );
    assert_eq!(
        btf.function_parameters("printk"),
        Some(vec![parameter("fmt", false)])
    );
    assert_eq!(btf.function_parameters("void_function"), Some(vec![]));
    assert_eq!(btf.function_parameters("sock"), None);
    assert_eq!(
        btf.tracepoint_parameters("tcp_send_reset"),
        Some(vec![parameter("", true), parameter("", false)])
    );
    assert_eq!(btf.tracepoint_parameters("tcp_reset"), None);
    assert!(btf.tracepoint_id("tcp_send_reset").is_some());
    assert_eq!(btf.tracepoint_id("tcp_reset"), None);
    assert!(btf.has_function("tcp_reset"));
    assert!(!btf.has_function("tcp_send_reset"));
}

#[test]
fn a_pointer_behind_typedefs_is_a_pointer() {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    let pointer = b.pointer(int);
    let typedef = b.typedef("handle", pointer);
    let constant = b.constant(typedef);
    b.function("f", &[("handle", constant)]);
    assert!(b.parse().function_parameters("f").unwrap()[0].is_pointer);
}

/// Changes one byte of the small kernel and tells how it is refused.
fn refusal_with(at: usize, byte: u8) -> BtfError {
    let mut bytes = small_kernel().bytes();
    bytes[at] = byte;
    Btf::parse(&bytes).unwrap_err()
}

#[test]
fn damaged_headers_are_refused_by_name() {
    assert_eq!(refusal_with(0, 0), BtfError::BadMagic { found: 0xeb00 });
    assert_eq!(refusal_with(2, 9), BtfError::BadVersion { found: 9 });
    assert!(matches!(
        refusal_with(3, 1),
        BtfError::BadHeader { offset: 3, .. }
    ));
    assert!(matches!(
        refusal_with(4, 20),
        BtfError::BadHeader { offset: 4, .. }
    ));
    assert!(matches!(
        refusal_with(12, 1),
        BtfError::BadHeader { offset: 12, .. }
    ));
    assert!(matches!(refusal_with(7, 0xff), BtfError::Truncated { .. }));
    assert!(matches!(refusal_with(19, 0xff), BtfError::Truncated { .. }));
    assert_eq!(
        Btf::parse(&[0xeb, 0x9f, 1, 0]).unwrap_err(),
        BtfError::BigEndian
    );
    assert_eq!(
        Btf::parse(b"no").unwrap_err(),
        BtfError::BadMagic { found: 0x6f6e }
    );
    let empty = Btf::parse(&[]).unwrap_err();
    assert_eq!(
        empty,
        BtfError::Truncated {
            what: "the header",
            offset: 0,
            need: 24,
            have: 0
        }
    );
}

#[test]
fn every_truncation_is_refused_as_one() {
    let bytes = small_kernel().bytes();
    for len in 2..bytes.len() {
        let error = Btf::parse(&bytes[..len]).unwrap_err();
        assert!(
            matches!(error, BtfError::Truncated { .. }),
            "{len}: {error}"
        );
    }
}

#[test]
fn unknown_kinds_and_meaningless_bits_are_refused_with_their_place() {
    for (info, kind) in [(0, 0), (20 << 24, 20), (0x20 << 24 | 4 << 24, 0x24)] {
        let mut b = Builder::new();
        b.int("int", 4);
        b.raw("strange", info, 0, &[]);
        let error = Btf::parse(&b.bytes()).unwrap_err();
        assert_eq!(
            error,
            BtfError::BadKind {
                id: 2,
                offset: 24 + 16,
                kind
            }
        );
    }
}

#[test]
fn a_type_that_does_not_fit_its_section_is_refused() {
    let mut b = Builder::new();
    b.raw("sock", 4 << 24 | 0x03e8, 4, &[]);
    let error = Btf::parse(&b.bytes()).unwrap_err();
    assert!(
        matches!(
            error,
            BtfError::Truncated {
                what: "a type",
                offset: 24,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn strings_must_end_and_be_text() {
    let good = small_kernel().bytes();
    let mut unended = good.clone();
    *unended.last_mut().unwrap() = b'x';
    let mut no_text = good.clone();
    let end = no_text.len();
    no_text[end - 2] = 0xff;
    for bytes in [unended, no_text] {
        let error = Btf::parse(&bytes).unwrap_err();
        assert!(matches!(error, BtfError::BadStrings { .. }), "{error}");
    }
}

#[test]
fn split_btf_is_refused_and_the_base_asked_for() {
    let mut by_type = Builder::new();
    by_type.typedef("module_type", 90_000);
    let mut by_member = Builder::new();
    by_member.structure("module_struct", 4, &[("member", 90_000, 0)]);
    let mut by_string = by_member.bytes();
    by_string[HEADER_BYTES + 3] = 0x10;
    let mut first_string = small_kernel().bytes();
    let strings = first_string.len() - small_kernel().strings_len();
    first_string[strings] = b'm';
    for bytes in [by_type.bytes(), by_member.bytes(), by_string, first_string] {
        let error = Btf::parse(&bytes).unwrap_err().to_string();
        assert!(
            error.starts_with("split BTF (of a kernel module)"),
            "{error}"
        );
        assert!(
            error.contains("give the base file, /sys/kernel/btf/vmlinux"),
            "{error}"
        );
    }
}

/// An ELF file of nothing but a section of that name that holds `content`.
pub(super) fn elf_with(section: &[u8], content: &[u8]) -> Vec<u8> {
    const ELF_HEADER: usize = 64;
    let names = [b"\0", section, b"\0.shstrtab\0"].concat();
    let content_at = ELF_HEADER;
    let names_at = content_at + content.len();
    let table_at = names_at + names.len();
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [2_u16, 62] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes());
    for word in [0, 0, table_at as u64] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 0, 0, 64, 3, 2] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(content);
    elf.extend(&names);
    let mut header = |name: usize, kind: u32, at: usize, len: usize| {
        elf.extend((name as u32).to_le_bytes());
        elf.extend(kind.to_le_bytes());
        for word in [0, 0, at as u64, len as u64, 0, 1, 0] {
            elf.extend(word.to_le_bytes());
        }
    };
    header(0, 0, 0, 0);
    header(1, 1, content_at, content.len());
    header(section.len() + 2, 3, names_at, names.len());
    elf
}

#[test]
fn the_section_of_an_elf_file_is_read() {
    let elf = elf_with(b".BTF", &small_kernel().bytes());
    let btf = Btf::parse(&elf).unwrap();
    assert_eq!(btf.member("sock", "sk_socket"), Ok(plain(48, 8)));

    let other = elf_with(b".text", &small_kernel().bytes());
    assert_eq!(Btf::parse(&other).unwrap_err(), BtfError::NoElfSection);
    let cut = Btf::parse(&elf[..100]).unwrap_err();
    assert!(matches!(cut, BtfError::BadElf { .. }), "{cut}");
}

#[test]
fn the_running_kernel_answers() {
    let Some(btf) = read_running_kernel() else {
        return;
    };
    assert_eq!(
        btf.member("sock", "__sk_common.skc_daddr").unwrap(),
        plain(0, 4)
    );
    assert_eq!(btf.member("iphdr", "ttl").unwrap(), plain(8, 1));
    assert_eq!(btf.member("tcphdr", "seq").unwrap(), plain(4, 4));
    let reset = btf.member("tcphdr", "rst").unwrap();
    assert_eq!((reset.offset_bytes, reset.bit_offset_in_byte), (13, 2));
    assert_eq!(reset.bitfield_bits, Some(1));
    let parameters = btf.tracepoint_parameters("tcp_receive_reset").unwrap();
    assert!(parameters.len() == 1 && parameters[0].is_pointer);
    assert!(btf.has_function("tcp_v4_rcv"));
    assert!(!btf.has_function("tcp_v9_rcv"));
}
