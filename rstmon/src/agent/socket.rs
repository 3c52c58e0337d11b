//! The control socket: a client sends one line that says what it wants, and reads lines until it
//! leaves. docs/socket.md is the protocol.
//!
//! Root may connect, and the members of one group; the file's owner and mode see to that. Runs on the
//! serving thread; a client that does not read loses events of its own and nothing else.

use super::capture_loop::Request;
use super::notice::warn;
use super::subscribers::{ClientId, LOST_SOCKET_CLIENT, Line, QUEUE_LINES, Subscriber, Wish};
use crate::board::BoardSnapshot;
use crate::bpf::counters::Counters;
use crate::cmd::exit::Failure;
use crate::event::cells::CellCounts;
use crate::filter::Filter;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;
/// Where the agent has its socket unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/rstmon/rstmon.sock";
/// Longest request, bytes.
const MAX_REQUEST: u64 = 16 * 1024;
/// How long a client may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long one write to a client may take before it is let go.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How often is looked whether a client that says no more has left.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes that are written at once, about.
const CHUNK_BYTES: usize = 64 * 1024;
/// What a client is told that says anything else later on.
const NOTHING_BUT_END: &str = "after its first line a client can only want to `end`";
/// Schema of a refusal.
pub const ERROR_SCHEMA: &str = "rstmon.error/1";
/// Schema of what a client is told about its own losses.
pub const LOST_SCHEMA: &str = "rstmon.lost/1";

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRequest {
    /// Version of the protocol that the client speaks.
    pub rstmon: u32,
    /// What it wants.
    pub want: Want,
    /// Of which events, in the language of `rstmon trace`.
    #[serde(default)]
    pub filter: String,
    /// Interval of the board, milliseconds, from 100 up.
    #[serde(default = "ClientRequest::usual_interval")]
    pub every_ms: u64,
}

impl ClientRequest {
    /// Interval that a client has unless it asks for another; of no meaning where it wants no board.
    pub const USUAL_INTERVAL_MS: u64 = 1_000;

    const fn usual_interval() -> u64 {
        Self::USUAL_INTERVAL_MS
    }
}

/// A line with the board.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BoardLine {
    /// `rstmon.board/1`.
    pub schema: Cow<'static, str>,
    /// What there is to see of the events that the client wants.
    pub board: BoardSnapshot,
    /// Events that the board counts and that were not sent.
    pub unshown: u64,
    /// Events lost before they reached the board, by the whole agent.
    pub lost: u64,
}

/// What a client may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// The start line, then each event from now on.
    Events,
    /// The start line, then at each interval some of the events and a line with the board of all.
    Board,
    /// After one of the others: no more, but the end line, with the totals since the client came.
    End,
}

/// A line that refuses.
#[derive(Serialize)]
struct Refusal<'a> {
    schema: &'static str,
    message: &'a str,
}

/// A line that tells a client what it lost.
#[derive(Serialize)]
struct LostLine {
    schema: &'static str,
    stage: &'static str,
    events: u64,
}

/// The socket's file, removed in the end, with the folders that were made for it.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: std::os::unix::net::UnixListener,
    /// Dropped after the file is gone.
    _folders: MadeFolders,
}

impl ControlSocket {
    /// Makes the socket. A file that an agent has left is replaced; one at which an agent answers is
    /// not.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, Failure> {
        let fail = |reason: &dyn fmt::Display| Failure::run_time(cannot_open(path, reason));
        if BlockingStream::connect(path).is_ok() {
            return Err(fail(&"another agent answers there"));
        }
        let group = group.map(find_group).transpose().map_err(|e| fail(&e))?;
        let folders = MadeFolders::make(path).map_err(|error| fail(&error))?;
        remove_socket(path).map_err(|error| fail(&error))?;
        // From the first moment nobody else may connect, whatever the umask is. It is the whole process's,
        // in which no other thread makes files yet.
        let umask_before = umask(Mode::S_IRWXG | Mode::S_IRWXO);
        let bound = std::os::unix::net::UnixListener::bind(path);
        umask(umask_before);
        let listener = bound.map_err(|error| fail(&error))?;
        let socket = Self {
            path: path.to_owned(),
            listener,
            _folders: folders,
        };
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        chown(path, None, group)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
            .and_then(|()| socket.listener.set_nonblocking(true))
            .map_err(|error| fail(&error))?;
        Ok(socket)
    }

    /// Serves clients for as long as it is polled.
    pub async fn serve(&self, service: SocketService) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(service.clone().attend(stream));
                }
                // Too many open files, say: those that are there go on.
                Err(error) => {
                    warn(&format!("the control socket refused a client: {error}"));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Folders that were made here, from the outermost. They go with this, unless others use them.
#[derive(Debug, Default)]
struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Makes the folders that the path of a file lacks.
    fn make(path: &Path) -> io::Result<Self> {
        let mut made = Self::default();
        let folders = path.ancestors().skip(1);
        let missing = folders.take_while(|it| !it.as_os_str().is_empty() && !it.exists());
        for folder in missing.collect::<Vec<_>>().into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => made.0.push(folder.to_owned()),
                // Somebody else was faster, or it is `..` of the one before.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // Only an empty one can be removed.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Removes a socket that nobody answers at; leaves anything else alone.
fn remove_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::other("there is a file that is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Why there can be no control socket at `path`.
pub(crate) fn cannot_open(path: &Path, reason: &dyn fmt::Display) -> String {
    format!(
        "cannot open the control socket {}: {reason}; choose another with --socket, or --socket '' for none",
        path.display()
    )
}

/// The number of a group.
pub(crate) fn find_group(name: &str) -> Result<u32, String> {
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("there is no group `{name}`; groupadd -r {name}")),
        Err(error) => Err(format!("cannot look up the group `{name}`: {error}")),
    }
}

/// What every client is served with.
#[derive(Clone)]
pub struct SocketService {
    /// The way to the capture thread.
    pub requests: mpsc::Sender<Request>,
    /// How many clients there are.
    pub clients: Arc<AtomicU64>,
    /// How many there may be.
    pub max_clients: u64,
    /// How many came so far, for each to have a number.
    pub came: Arc<AtomicU64>,
    /// The kernel side's counters.
    pub counters: Arc<Counters>,
}

/// One client more, for as long as it lives.
struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SocketService {
    async fn attend(self, stream: UnixStream) {
        let before = self.clients.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(Arc::clone(&self.clients));
        let (reader, mut writer) = stream.into_split();
        let outcome = if before >= self.max_clients {
            Err("the agent has as many clients as it may have (socket.max-clients)".to_owned())
        } else {
            read_request(reader).await
        };
        let served = match outcome {
            Ok(None) => return,
            Ok(Some((wish, reader))) => self.send_lines(wish, reader, &mut writer).await,
            Err(message) => refuse(&message, &mut writer).await,
        };
        // A client that has left need not be told so.
        drop(served);
    }

    async fn send_lines(
        &self,
        wish: Wish,
        mut reader: BufReader<OwnedReadHalf>,
        writer: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let (queue, mut lines) = mpsc::channel(QUEUE_LINES);
        let id = ClientId(self.came.fetch_add(1, Ordering::Relaxed));
        let untold = Arc::new(AtomicU64::new(0));
        let subscriber = Subscriber::new(id, wish, queue, Arc::clone(&untold));
        if let Err(message) = self.subscribe(subscriber).await {
            return refuse(&message, writer).await;
        }
        let mut said = Vec::new();
        let mut says_no_more = false;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => write_waiting(&line, &mut lines, writer).await?,
                    None => return Ok(()),
                },
                // What was read of a line stays in `said` if another branch is first.
                later = hear(&mut reader, &mut said), if !says_no_more => match later {
                    Later::Silent => says_no_more = true,
                    Later::End => return self.end(id, lines, writer).await,
                    Later::Other => return refuse(NOTHING_BUT_END, writer).await,
                    Later::Gone => return Ok(()),
                },
                // Who says no more may still listen, as `echo … | socat` does.
                _ = look.tick(), if says_no_more => {
                    if has_left(writer) {
                        return Ok(());
                    }
                }
            }
            let events = untold.swap(0, Ordering::Relaxed);
            if events != 0 {
                let told = LostLine {
                    schema: LOST_SCHEMA,
                    stage: LOST_SOCKET_CLIENT,
                    events,
                };
                write_within(writer, &json_line(&told)?).await?;
            }
        }
    }

    async fn subscribe(&self, subscriber: Subscriber) -> Result<(), String> {
        let request = Request::Subscribe(Box::new(subscriber), self.read_lost()?);
        let sent = self.requests.send(request).await;
        sent.map_err(|_| "the capture has ended".to_owned())
    }

    /// Writes what is left for a client that wants no more, and its totals.
    async fn end(
        &self,
        id: ClientId,
        mut lines: mpsc::Receiver<Line>,
        writer: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let lost = match self.read_lost() {
            Ok(lost) => lost,
            Err(message) => return refuse(&message, writer).await,
        };
        let (reply, end_line) = oneshot::channel();
        // A capture that has ended meanwhile has put an end line behind what is left.
        let asked = self.requests.send(Request::End(id, lost, reply)).await;
        drop(asked);
        while let Some(line) = lines.recv().await {
            write_waiting(&line, &mut lines, writer).await?;
        }
        match end_line.await {
            Ok(line) => write_within(writer, &line).await,
            Err(_) => Ok(()),
        }
    }

    /// What the kernel side has counted and lost by now.
    fn read_lost(&self) -> Result<CellCounts, String> {
        let counts = self.counters.read_counts();
        let counts =
            counts.map_err(|error| format!("cannot read the kernel's counters: {error}"))?;
        Ok(counts.lost)
    }
}

/// What a client does after its first line.
enum Later {
    /// It says no more.
    Silent,
    /// It asks to end.
    End,
    /// It says what it must not.
    Other,
    /// It has gone.
    Gone,
}

/// Hears what a client says next, of which `said` holds what has come. To be left off at any await.
async fn hear(reader: &mut BufReader<OwnedReadHalf>, said: &mut Vec<u8>) -> Later {
    let left = MAX_REQUEST.saturating_sub(said.len() as u64);
    match reader.take(left).read_until(b'\n', said).await {
        Ok(0) if said.is_empty() => Later::Silent,
        Ok(_) if asks_to_end(said) => Later::End,
        Ok(_) => Later::Other,
        Err(_) => Later::Gone,
    }
}

/// Whether this is the request to end.
fn asks_to_end(line: &[u8]) -> bool {
    serde_json::from_slice(line)
        .is_ok_and(|request: ClientRequest| request.rstmon == PROTOCOL && request.want == Want::End)
}

/// Writes a line, with others that wait.
async fn write_waiting(
    line: &Line,
    lines: &mut mpsc::Receiver<Line>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut chunk = line.to_vec();
    while chunk.len() <= CHUNK_BYTES
        && let Ok(line) = lines.try_recv()
    {
        chunk.extend_from_slice(&line);
    }
    write_within(writer, &chunk).await
}

/// Whether the client has closed both directions.
fn has_left(writer: &OwnedWriteHalf) -> bool {
    let stream: &UnixStream = writer.as_ref();
    let mut state = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    // POLLHUP is told whether or not it is asked for.
    let told = poll(&mut state, PollTimeout::ZERO);
    let hung_up = |it: &PollFd<'_>| {
        it.revents()
            .is_some_and(|it| it.contains(PollFlags::POLLHUP))
    };
    told.is_ok() && state.iter().any(hung_up)
}

type Asked = (Wish, BufReader<OwnedReadHalf>);

/// Reads what a client wants; nothing if it left without a word.
async fn read_request(reader: OwnedReadHalf) -> Result<Option<Asked>, String> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let mut limited = (&mut reader).take(MAX_REQUEST);
    let read = limited.read_until(b'\n', &mut line);
    match tokio::time::timeout(REQUEST_TIME, read).await {
        Err(_) => return Err("the request did not come in time".to_owned()),
        Ok(Err(_) | Ok(0)) => return Ok(None),
        Ok(Ok(_)) => {}
    }
    Ok(Some((parse_request(&line)?, reader)))
}

/// Understands a request, or says what is wrong with it.
fn parse_request(line: &[u8]) -> Result<Wish, String> {
    let request: ClientRequest =
        serde_json::from_slice(line).map_err(|error| format!("no request: {error}"))?;
    if request.rstmon != PROTOCOL {
        return Err(format!(
            "this agent speaks version {PROTOCOL} of the protocol, not {}",
            request.rstmon
        ));
    }
    let filter = Filter::parse(&request.filter).map_err(|error| error.to_string())?;
    Ok(match request.want {
        Want::Events => Wish::Events(filter),
        Want::Board if request.every_ms < 100 => {
            return Err("every_ms is at least 100".to_owned());
        }
        Want::Board => Wish::Board(filter, Duration::from_millis(request.every_ms)),
        Want::End => return Err("nothing has begun that could end".to_owned()),
    })
}

async fn refuse(message: &str, writer: &mut (impl AsyncWriteExt + Unpin)) -> io::Result<()> {
    let refusal = Refusal {
        schema: ERROR_SCHEMA,
        message,
    };
    write_within(writer, &json_line(&refusal)?).await
}

fn json_line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Writes, unless the client does not read for too long.
async fn write_within(writer: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> io::Result<()> {
    tokio::time::timeout(WRITE_TIME, writer.write_all(bytes))
        .await
        .map_err(io::Error::from)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use nix::unistd::Group;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn requests_are_understood_or_refused_in_words() {
        let good = br#"{"rstmon":1,"want":"events","filter":"kind sent"}"#;
        assert!(matches!(parse_request(good), Ok(Wish::Events(_))));
        for (request, part) in [
            (r#"{"rstmon":2,"want":"events"}"#, "version 1"),
            (r#"{"rstmon":1,"want":"all"}"#, "unknown variant"),
            (r#"{"rstmon":1,"want":"events","filter":"kind x"}"#, "kind"),
            (r#"{"rstmon":1,"want":"events","x":1}"#, "unknown field"),
            ("GET / HTTP/1.1", "no request"),
        ] {
            let message = parse_request(request.as_bytes()).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_socket_is_replaced_only_when_nobody_answers_and_removed_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/run/rstmon.sock");
        let first = ControlSocket::bind(&path, None).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let error = ControlSocket::bind(&path, None).unwrap_err().to_string();
        assert!(error.contains("another agent"), "{error}");
        // As after a kill: the file stays, nobody listens.
        let stale = folder.path().join("made/run/stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        drop(ControlSocket::bind(&stale, None).unwrap());
        assert!(!stale.exists());
        drop(first);
        assert!(!folder.path().join("made").exists(), "what it made stays");
        let file = folder.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(ControlSocket::bind(&file, None).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        let error = ControlSocket::bind(&path, Some("no-such-group")).unwrap_err();
        assert!(error.to_string().contains("groupadd"), "{error}");
    }

    #[test]
    fn the_group_that_is_named_may_use_the_socket_and_no_other() {
        // Root can give it to any group, others to their own.
        let gid = match nix::unistd::getegid().as_raw() {
            0 => 65534,
            own => own,
        };
        let Ok(Some(group)) = Group::from_gid(gid.into()) else {
            return crate::skip::cannot_run("this process's group has no name here");
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rstmon.sock");
        let _socket = ControlSocket::bind(&path, Some(&group.name)).unwrap();
        let file = fs::metadata(&path).unwrap();
        assert_eq!(
            (file.permissions().mode() & 0o7777, file.gid()),
            (0o660, gid)
        );
    }

    #[test]
    fn no_folder_goes_that_was_there_or_that_others_use() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).unwrap();
        for path in ["kept/rstmon.sock", "made/../kept/rstmon.sock"] {
            drop(ControlSocket::bind(&folder.path().join(path), None).unwrap());
            assert!(kept.exists(), "{path}");
        }
        assert!(!folder.path().join("made").exists());
        let shared = ControlSocket::bind(&kept.join("shared/rstmon.sock"), None).unwrap();
        fs::write(kept.join("shared/file"), "").unwrap();
        drop(shared);
        assert!(kept.join("shared/file").exists());
    }

    #[test]
    fn a_socket_that_cannot_be_made_leaves_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than an address of a socket may be (unix(7)).
        let name = format!("made/{}", "x".repeat(200));
        let error = ControlSocket::bind(&folder.path().join(name), None).unwrap_err();
        assert!(error.to_string().contains("--socket"), "{error}");
        assert!(!folder.path().join("made").exists());
    }
}
