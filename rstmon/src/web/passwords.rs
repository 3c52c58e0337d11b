//! Users and passwords of RFC 7617 (Basic), against bcrypt hashes.
//!
//! A hash takes about 100 ms by design. It is computed on a thread of its own, one at a time, and after
//! a wrong password that thread rests: whoever guesses gets a fraction of one core. Pairs that were
//! right are remembered, by a keyed digest, so that a scrape waits for nobody but the first time;
//! and then for few, as the waiting of one address are bounded.

use super::WebError;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use lru::LruCache;
use ring::{hmac, rand};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, oneshot};

/// Right pairs that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Passwords of all addresses that may wait.
const MAX_WAITING: usize = 64;
/// Passwords of one address that may wait.
const MAX_WAITING_OF_ONE: usize = 4;
/// After a wrong password the thread rests this many times as long as it worked.
const REST: u32 = 4;

/// bcrypt hashes by user.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// The costliest hash: what a user that is not there is checked against, in vain, so that the time
    /// does not tell which users are.
    costliest: Option<String>,
}

impl Users {
    /// From the hashes of a checked configuration.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Self {
        let cost = |hash: &&String| {
            hash.parse()
                .map_or(0, |it: bcrypt::HashParts| it.get_cost())
        };
        let costliest = hashes.values().max_by_key(cost).cloned();
        Self { hashes, costliest }
    }

    /// Whether a password is asked for at all.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Come in.
    Allowed,
    /// No password, or a wrong one.
    Wrong,
    /// Too many are being checked.
    Crowded,
}

/// Lets in who knows a password.
pub(super) struct PasswordGate {
    /// Of this process alone, so that digests mean nothing elsewhere.
    key: hmac::Key,
    right: Mutex<LruCache<[u8; 32], ()>>,
    /// The right to compute a hash.
    turn: Arc<Semaphore>,
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

impl PasswordGate {
    /// Needs a key of random bits.
    pub(super) fn new() -> Result<Self, WebError> {
        let random = rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
        Ok(Self {
            key: key.map_err(|_| WebError::Randomness)?,
            right: Mutex::new(LruCache::new(REMEMBERED)),
            turn: Arc::new(Semaphore::new(1)),
            waiting: Mutex::default(),
        })
    }

    /// Whether a request with these headers may come in.
    pub(super) async fn admit(&self, users: &Users, headers: &HeaderMap, peer: IpAddr) -> Verdict {
        if users.is_empty() {
            return Verdict::Allowed;
        }
        let Some((user, password)) = parse_credentials(headers) else {
            return Verdict::Wrong;
        };
        let known = users.hashes.get(&user);
        let Some(hash) = known.or(users.costliest.as_ref()) else {
            return Verdict::Wrong;
        };
        let digest = self.digest(&user, hash, &password);
        if known.is_some() && self.is_remembered(&digest) {
            return Verdict::Allowed;
        }
        let Some(_waiting) = Waiting::join(&self.waiting, peer) else {
            return Verdict::Crowded;
        };
        // The semaphore is never closed.
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return Verdict::Crowded;
        };
        // Another connection of the same client may have been right meanwhile.
        if known.is_some() && self.is_remembered(&digest) {
            return Verdict::Allowed;
        }
        let (answer, answered) = oneshot::channel();
        let hash = hash.clone();
        // It keeps its turn to the end, even if the client has left.
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let began = Instant::now();
            let is_right = bcrypt::verify(password, &hash).unwrap_or(false);
            let took = began.elapsed();
            // A client that has left asks no more.
            let _ = answer.send(is_right);
            if !is_right {
                std::thread::sleep(took * REST);
            }
        });
        if answered.await != Ok(true) || known.is_none() {
            return Verdict::Wrong;
        }
        lock(&self.right).put(digest, ());
        Verdict::Allowed
    }

    fn is_remembered(&self, digest: &[u8; 32]) -> bool {
        lock(&self.right).get(digest).is_some()
    }

    /// With the hash in it, a password that was changed in the configuration is not remembered.
    fn digest(&self, user: &str, hash: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

/// A password that waits to be checked; dropped, it waits no more.
struct Waiting<'a> {
    all: &'a Mutex<HashMap<IpAddr, usize>>,
    peer: IpAddr,
}

impl<'a> Waiting<'a> {
    fn join(all: &'a Mutex<HashMap<IpAddr, usize>>, peer: IpAddr) -> Option<Self> {
        let mut waiting = lock(all);
        let of_all: usize = waiting.values().sum();
        let of_peer = waiting.get(&peer).copied().unwrap_or(0);
        if of_all >= MAX_WAITING || of_peer >= MAX_WAITING_OF_ONE {
            return None;
        }
        waiting.insert(peer, of_peer + 1);
        Some(Self { all, peer })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(self.all);
        if let Some(count) = waiting.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.peer);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// User and password of `Authorization: Basic ...` (RFC 7617); none if it is not that.
fn parse_credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let (scheme, coded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut user = BASE64_STANDARD.decode(coded.trim()).ok()?;
    let colon = user.iter().position(|&byte| byte == b':')?;
    let password = user.split_off(colon + 1);
    user.pop();
    Some((String::from_utf8(user).ok()?, password))
}

#[cfg(test)]
#[path = "passwords_tests.rs"]
mod tests;
