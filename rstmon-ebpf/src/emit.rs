//! From what a hook saw to a count and a record on the ring.

use crate::budget::{jiffies, within_budget};
use crate::counts::{count, lose, stage};
use crate::globals::{config, offset};
use crate::maps::{CPU, EVENTS};
use crate::notes::{self, Place};
use crate::owner::{self, Actor};
use crate::read::{KernelAddr, Members, Window, copy_16, zeroed};
use crate::scratch::SocketRoom;
use crate::segment::Segment;
use crate::sock::{self, Common, Ends};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use rstmon_common::config::{FILTER_PORTS, ICSK_WINDOW_LEN, SOCK_WINDOW_LEN, TCP_WINDOW_LEN};
use rstmon_common::counts::{STATE_UNKNOWN, Stage};
use rstmon_common::layout::ABSENT;
use rstmon_common::wire::{self, RawEvent, sock_flag, tcp_flag, tcp_state};

/// A CPU wakes the reader at most this often.
const WAKE_INTERVAL_NS: u64 = 10_000_000;
/// The same while the ring fills: a wake-up costs more than an event.
const URGENT_WAKE_INTERVAL_NS: u64 = 1_000_000;

/// What the kernel said about why. Plain numbers, as everything that travels from a hook to the
/// record: the verifier of older kernels refuses to read what one branch of an `enum` or an
/// `Option` leaves unwritten.
#[derive(Clone, Copy)]
pub(crate) struct Reason {
    /// `wire::HAVE_RST_REASON`, `wire::HAVE_DROP_REASON`, or 0: nothing.
    have: u32,
    /// Its number; 0 if it said nothing.
    number: u32,
}

impl Reason {
    /// Nothing.
    pub(crate) const NONE: Self = Self { have: 0, number: 0 };

    /// A number of `enum sk_rst_reason`.
    #[inline(always)]
    pub(crate) const fn rst(number: u32) -> Self {
        Self {
            have: wire::HAVE_RST_REASON,
            number,
        }
    }

    /// None of the kernel's: only the counts tell it apart.
    #[inline(always)]
    pub(crate) const fn counted_as(number: u32) -> Self {
        Self { have: 0, number }
    }

    /// A number of `enum skb_drop_reason`.
    #[inline(always)]
    pub(crate) const fn dropped(number: u32) -> Self {
        Self {
            have: wire::HAVE_DROP_REASON,
            number,
        }
    }

    /// Its number; 0 if it said nothing.
    #[inline(always)]
    pub(crate) const fn number(self) -> u32 {
        self.number
    }

    /// Whether it is the drop reason of this number.
    #[inline(always)]
    pub(crate) const fn is_drop(self, number: u32) -> bool {
        self.have == wire::HAVE_DROP_REASON && self.number == number
    }
}

/// One reset, as a hook saw it.
#[derive(Clone, Copy)]
pub(crate) struct Sighting<'a> {
    /// `wire::KIND_*`.
    pub(crate) kind: u8,
    /// `wire::HOOK_*`.
    pub(crate) hook: u8,
    /// `wire::FLAG_*`.
    pub(crate) flags: u16,
    /// Why.
    pub(crate) reason: Reason,
    /// The socket, or null.
    pub(crate) sock: KernelAddr,
    /// What all kinds of sockets have in common, of a full socket.
    pub(crate) common: Option<&'a Common<'a>>,
    /// `wire::SOCKET_*`.
    pub(crate) socket_kind: u8,
    /// State at the hook.
    pub(crate) state_at_hook: u8,
    /// State before the reset, or [`STATE_UNKNOWN`]. No `Option`: what its other half leaves
    /// unwritten, the verifier of some programs must not read.
    pub(crate) state: u8,
    /// What it is counted as; `kind`, but for the tentative ones.
    pub(crate) counted_as: u8,
    /// Both ends.
    pub(crate) ends: &'a Ends,
    /// Network namespace; 0: not known.
    pub(crate) netns: u32,
    /// Interface that the segment came by; 0: not known.
    pub(crate) ifindex: u32,
    /// The RST or its trigger.
    pub(crate) segment: Option<&'a Segment>,
}

/// Counts the reset, and reports it unless the filter, the budget or a full ring forbids.
#[inline(always)]
pub(crate) fn report(sighting: &Sighting<'_>, room: &mut SocketRoom) {
    if !wanted(sighting) {
        count_event(sighting);
        stage(Stage::Filtered);
        return;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if !within_budget(now) {
        lose_event(Stage::StormBudget, sighting);
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<RawEvent>(0) else {
        lose_event(Stage::RingFull, sighting);
        return;
    };
    count_event(sighting);
    let event = zeroed(&mut entry);
    fill(event, sighting, now, room);
    stage(Stage::Submitted);
    entry.submit(wake_flags(now));
}

/// Counts a reset whose event gets out, or is not wanted.
#[inline(always)]
fn count_event(sighting: &Sighting<'_>) {
    count(
        sighting.counted_as,
        sighting.state,
        sighting.ends.family,
        sighting.reason.number,
    );
}

/// Counts a reset whose event does not get out.
#[inline(always)]
fn lose_event(at: Stage, sighting: &Sighting<'_>) {
    lose(
        at,
        sighting.counted_as,
        sighting.state,
        sighting.ends.family,
        sighting.reason.number,
    );
}

/// The part of the user's filter that the kernel can decide. What it cannot know passes.
#[inline(always)]
fn wanted(sighting: &Sighting<'_>) -> bool {
    // A retraction must reach user space, or the event that it retracts would stand.
    if sighting.flags & wire::FLAG_RETRACTS != 0 {
        return true;
    }
    if config!(filter_kinds) & (1 << sighting.kind) == 0 {
        return false;
    }
    let netns = config!(filter_netns);
    if netns != 0 && sighting.netns != 0 && netns != sighting.netns {
        return false;
    }
    if config!(filter_port_count) != 0 && !port_wanted(sighting.ends) {
        return false;
    }
    let pid = config!(filter_pid);
    if pid != 0
        && sighting.socket_kind == wire::SOCKET_FULL
        && let Some(note) = notes::note(sighting.sock)
        && note.owner.pid != 0
        && note.owner.pid != pid
    {
        return false;
    }
    true
}

#[inline(always)]
fn port_wanted(ends: &Ends) -> bool {
    let count = config!(filter_port_count);
    for index in 0..FILTER_PORTS {
        if index >= usize::from(count) {
            return false;
        }
        let port = config!(filter_ports[index]);
        if port == ends.local_port || port == ends.remote_port {
            return true;
        }
    }
    false
}

/// Wakes the reader seldom: it polls for a while after each wake-up, so what is submitted within
/// the interval is read without another one.
#[inline(always)]
fn wake_flags(now: u64) -> u64 {
    let Some(state) = CPU.get_ptr_mut(0) else {
        return u64::from(BPF_RB_FORCE_WAKEUP);
    };
    // SAFETY: a live element of this CPU.
    let state = unsafe { &mut *state };
    let since = now.wrapping_sub(state.woken_ns);
    let due = since >= WAKE_INTERVAL_NS
        || (since >= URGENT_WAKE_INTERVAL_NS
            && EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= u64::from(config!(wake_bytes)));
    if due {
        state.woken_ns = now;
        return u64::from(BPF_RB_FORCE_WAKEUP);
    }
    u64::from(BPF_RB_NO_WAKEUP)
}

#[inline(always)]
fn fill(event: &mut RawEvent, sighting: &Sighting<'_>, now: u64, room: &mut SocketRoom) {
    event.abi = wire::ABI;
    event.flags = sighting.flags;
    event.mono_ns = now;
    event.jiffies = jiffies();
    // SAFETY: a helper without arguments.
    event.cpu = unsafe { bpf_get_smp_processor_id() } as u16;
    event.kind = sighting.kind;
    event.hook = sighting.hook;
    event.reason = sighting.reason.number;
    event.have |= sighting.reason.have;
    event.socket_kind = sighting.socket_kind;
    event.state_at_hook = sighting.state_at_hook;
    if sighting.state != STATE_UNKNOWN {
        event.state = sighting.state;
        event.have |= wire::HAVE_STATE;
    }
    event.ifindex = sighting.ifindex;
    if sighting.netns != 0 {
        event.netns = sighting.netns;
        event.have |= wire::HAVE_NETNS;
    }
    fill_ends(event, sighting.ends);
    if let Some(segment) = sighting.segment {
        fill_segment(event, segment);
    }
    if sighting.socket_kind == wire::SOCKET_FULL {
        fill_sock(event, sighting, &mut room.sock);
        if sighting.state_at_hook == tcp_state::LISTEN {
            fill_backlog(event, sighting.sock);
        } else {
            fill_connection(event, sighting.sock, &mut room.icsk);
            fill_tcp(event, sighting.sock, &mut room.tcp);
        }
    } else if sighting.socket_kind == wire::SOCKET_TIMEWAIT {
        fill_timewait(event, sighting.sock);
    }
    event.socket_id = identity(sighting.sock);
    fill_owner(event, sighting);
}

#[inline(always)]
fn fill_ends(event: &mut RawEvent, ends: &Ends) {
    if ends.family == 0 {
        return;
    }
    copy_16(&ends.local_addr, &mut event.local_addr);
    copy_16(&ends.remote_addr, &mut event.remote_addr);
    event.local_port = ends.local_port;
    event.remote_port = ends.remote_port;
    event.family = ends.family;
    event.have |= wire::HAVE_TUPLE;
}

#[inline(always)]
fn fill_segment(event: &mut RawEvent, segment: &Segment) {
    event.segment_seq = segment.seq;
    event.segment_ack = segment.ack;
    event.segment_len = segment.len;
    event.segment_flags = segment.flags;
    event.segment_window = segment.window;
    event.segment_ttl = segment.ttl;
    event.segment_ip_id = segment.ip_id;
    event.have |= wire::HAVE_SEGMENT | wire::HAVE_SEGMENT_IP;
    if segment.has_timestamps != 0 {
        event.segment_ts_value = segment.ts_value;
        event.segment_ts_echo = segment.ts_echo;
        event.have |= wire::HAVE_SEGMENT_TIMESTAMPS;
    }
    if segment.mptcp_reset >= 256 {
        event.mptcp_reset_reason = segment.mptcp_reset as u8;
        event.have |= wire::HAVE_MPTCP_RESET;
    }
    event.have |= u32::from(segment.mptcp_join) * wire::HAVE_MPTCP_JOIN;
    fill_payload(event, segment);
}

/// Of a RST what it says of itself, of another segment one byte: data are the users' own.
#[inline(always)]
fn fill_payload(event: &mut RawEvent, segment: &Segment) {
    let wanted = if segment.is_rst() || segment.payload_len == 0 {
        segment.payload_len
    } else {
        1
    };
    let read = segment.payload.read_bytes(wanted, &mut event.payload);
    if read != 0 {
        event.payload_len = read as u8;
        event.have |= wire::HAVE_PAYLOAD;
    }
}

#[inline(always)]
fn fill_sock(event: &mut RawEvent, sighting: &Sighting<'_>, room: &mut [u8; SOCK_WINDOW_LEN]) {
    if offset!(sock_flags) == ABSENT {
        // Without BTF nothing of the socket can be read.
        return;
    }
    let Some(common) = sighting.common else {
        return;
    };
    let Some(sock) = Window::copy(sighting.sock, config!(sock_window), room) else {
        return;
    };
    if let Some(flags) = common.field::<u64>(offset!(sock_flags)) {
        event.sock_flags = flags as u32;
        if event.sock_flags & sock_flag::LINGER != 0
            && let Some(linger) = sock.field::<u64>(offset!(sock_lingertime))
        {
            event.linger_jiffies = if linger > u64::from(u32::MAX) {
                u32::MAX
            } else {
                linger as u32
            };
        }
    }
    common.field_into(offset!(sock_cookie), &mut event.cookie);
    if event.ifindex == 0 {
        common.field_into(offset!(sock_bound_dev_if), &mut event.ifindex);
    }
    sock.field_into(offset!(sock_shutdown), &mut event.shutdown);
    sock.field_into(offset!(sock_err), &mut event.sock_err);
    sock.field_into(offset!(sock_uid), &mut event.uid);
    sock.field_into(offset!(sock_mark), &mut event.mark);
    if !sock.field_into(offset!(sock_ino), &mut event.inode) {
        event.inode = sock::inode(sock.pointer(offset!(sock_socket)));
    }
    event.cgroup_id = sock::cgroup_id(sock.pointer(offset!(sock_cgroup)));
    if event.cgroup_id != 0 {
        event.have |= wire::HAVE_CGROUP;
    }
    event.have |= wire::HAVE_SOCK;
}

#[inline(always)]
fn fill_connection(event: &mut RawEvent, sock: KernelAddr, room: &mut [u8; ICSK_WINDOW_LEN]) {
    if offset!(icsk_retransmits) == ABSENT {
        return;
    }
    let Some(icsk) = Window::copy(sock, config!(icsk_window), room) else {
        return;
    };
    icsk.field_into(offset!(icsk_last_received), &mut event.last_received);
    icsk.field_into(offset!(icsk_retransmits), &mut event.retransmits);
    icsk.field_into(offset!(icsk_probes_out), &mut event.probes_out);
    icsk.field_into(offset!(icsk_user_timeout), &mut event.user_timeout_ms);
}

#[inline(always)]
fn fill_tcp(event: &mut RawEvent, sock: KernelAddr, room: &mut [u8; TCP_WINDOW_LEN]) {
    if offset!(tcp_rcv_nxt) == ABSENT {
        return;
    }
    let Some(tcp) = Window::copy(sock, config!(tcp_window), room) else {
        return;
    };
    tcp.field_into(offset!(tcp_rcv_nxt), &mut event.rcv_nxt);
    tcp.field_into(offset!(tcp_copied_seq), &mut event.copied_seq);
    tcp.field_into(offset!(tcp_snd_nxt), &mut event.snd_nxt);
    tcp.field_into(offset!(tcp_snd_una), &mut event.snd_una);
    tcp.field_into(offset!(tcp_write_seq), &mut event.write_seq);
    tcp.field_into(offset!(tcp_snd_wnd), &mut event.snd_wnd);
    tcp.field_into(offset!(tcp_rcv_wnd), &mut event.rcv_wnd);
    tcp.field_into(offset!(tcp_rcv_wup), &mut event.rcv_wup);
    tcp.field_into(offset!(tcp_srtt_us), &mut event.srtt_us_8);
    // `struct minmax` begins with its best sample, `{ u32 t; u32 v; }`: v is the value.
    let rtt_min = offset!(tcp_rtt_min);
    if rtt_min != ABSENT {
        tcp.field_into(rtt_min + 4, &mut event.min_rtt_us);
    }
    tcp.field_into(offset!(tcp_last_sent), &mut event.last_sent);
    tcp.field_into(offset!(tcp_last_heard), &mut event.last_heard);
    tcp.field_into(offset!(tcp_ts_recent), &mut event.ts_recent);
    tcp.field_into(offset!(tcp_bytes_sent), &mut event.bytes_sent);
    tcp.field_into(offset!(tcp_bytes_acked), &mut event.bytes_acked);
    tcp.field_into(offset!(tcp_bytes_received), &mut event.bytes_received);
    tcp.field_into(offset!(tcp_total_retrans), &mut event.total_retrans);
    tcp.field_into(offset!(tcp_linger2), &mut event.linger2);
    if let Some(is_mptcp) = tcp.field::<u8>(offset!(tcp_is_mptcp)) {
        // A bool; without a branch.
        event.flags |= u16::from(is_mptcp & 1) * wire::FLAG_MPTCP_SUBFLOW;
    }
    event.have |= wire::HAVE_TCP | wire::HAVE_MPTCP;
}

#[inline(always)]
fn fill_backlog(event: &mut RawEvent, sock: KernelAddr) {
    if sock.field_into(offset!(sock_ack_backlog), &mut event.ack_backlog)
        && sock.field_into(offset!(sock_max_ack_backlog), &mut event.max_ack_backlog)
    {
        event.have |= wire::HAVE_BACKLOG;
    }
}

#[inline(always)]
fn fill_timewait(event: &mut RawEvent, sock: KernelAddr) {
    if sock.field_into(offset!(tw_substate), &mut event.timewait_substate) {
        sock.field_into(offset!(tw_rcv_nxt), &mut event.rcv_nxt);
        event.have |= wire::HAVE_TIMEWAIT;
    }
}

/// The socket's identity. A permutation, so that two sockets never share one; keyed, so that the
/// kernel's addresses stay in the kernel (the finalizer of `SplitMix64` under a random key).
#[inline(always)]
fn identity(sock: KernelAddr) -> u64 {
    if sock.is_null() {
        return 0;
    }
    let mut mixed = sock.value() ^ config!(socket_key);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The owner by the socket; failing that, by the connection that had this tuple; failing that, the
/// listener that a server's connection came from.
#[inline(always)]
fn fill_owner(event: &mut RawEvent, sighting: &Sighting<'_>) {
    let full = sighting.socket_kind == wire::SOCKET_FULL;
    if full && let Some(place) = notes::place_of(sighting.sock) {
        fill_noted(event, &place, sighting.sock);
    } else if may_be_former(sighting) {
        fill_former(event, sighting);
    }
    if event.have & wire::HAVE_OWNER == 0
        && full
        && event.flags & wire::FLAG_CLIENT == 0
        && let Some(listener) = owner::listener(sighting.ends, sighting.netns)
        && (event.have & wire::HAVE_BORN == 0 || event.born_ns >= listener.since_ns)
    {
        // A connection that is older came of another listener at this address.
        owner::put_owner(event, &listener.owner);
    }
    if sighting.flags & wire::FLAG_ACTIVE != 0 {
        fill_actor(event, sighting.state_at_hook);
    }
    if event.have & wire::HAVE_EXIT != 0 {
        owner::put_killer(event);
    }
}

/// What is remembered of the socket.
#[inline(always)]
fn fill_noted(event: &mut RawEvent, place: &Place, sock: KernelAddr) {
    let (have, flags) = (event.have, event.flags);
    owner::put_note(event, place.note());
    if !place.is_of(sock) {
        // Another socket took the place meanwhile: without their bits the values mean nothing.
        event.have = have;
        event.flags = flags;
    }
}

/// Whether the connection that had this tuple can be what the reset is about: not while a socket
/// lives that has the tuple now, nor for a segment that asks for a new one.
#[inline(always)]
fn may_be_former(sighting: &Sighting<'_>) -> bool {
    let lives = sighting.socket_kind == wire::SOCKET_FULL
        && sighting.state_at_hook != tcp_state::CLOSE
        && sighting.state_at_hook != tcp_state::LISTEN;
    !lives && !opens_connection(sighting)
}

/// What is known of the connection that had this tuple.
#[inline(always)]
fn fill_former(event: &mut RawEvent, sighting: &Sighting<'_>) {
    let Some(closed) = notes::closed(sighting.ends, sighting.netns) else {
        return;
    };
    let closed_ns = notes::closed_ns(closed);
    let (have, flags) = (event.have, event.flags);
    owner::put_former(event, closed);
    event.closed_ns = closed_ns;
    event.closed_state = closed.state;
    event.have |= wire::HAVE_CLOSED;
    if !notes::stands(closed, closed_ns) {
        // Another connection took its place meanwhile: without their bits the values mean nothing.
        event.have = have;
        event.flags = flags;
    }
}

/// The task that runs, of an active reset only: in the receive path it is anybody.
#[inline(always)]
fn fill_actor(event: &mut RawEvent, state_at_hook: u8) {
    let current = owner::current(wire::OWNER_CLOSE);
    event.current_pid = current.pid;
    owner::put_comm(&mut event.current_comm, &current.comm);
    event.have |= wire::HAVE_CURRENT;
    // From CLOSED the reset leaves from close(), connect() or exit() of the task that runs, unless
    // the socket was orphaned and its reset comes from a timer.
    let actor = Actor::current();
    if state_at_hook == tcp_state::CLOSE
        && event.sock_flags & sock_flag::DEAD == 0
        && !actor.is_kernel_thread()
    {
        owner::put_owner(event, &current);
        owner::put_exit(event, &actor.exit());
    }
}

/// Whether the segment asks for a new connection, to which a former one of its tuple is nothing.
#[inline(always)]
fn opens_connection(sighting: &Sighting<'_>) -> bool {
    match sighting.segment {
        Some(segment) => segment.has(tcp_flag::SYN) && !segment.has(tcp_flag::ACK),
        None => false,
    }
}
