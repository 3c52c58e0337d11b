//! The gate, with hashes of the lowest cost.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use hyper::header::HeaderValue;
use std::net::Ipv4Addr;
use std::time::Duration;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn users(cost: u32) -> Users {
    let hash = bcrypt::hash("right", cost).unwrap();
    Users::new(BTreeMap::from([("alice".to_owned(), hash)]))
}

fn asking(credentials: &str) -> HeaderMap {
    let value = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(value).unwrap())])
}

#[tokio::test]
async fn the_right_password_lets_in() {
    let (gate, users) = (PasswordGate::new().unwrap(), users(4));
    let table = [
        ("alice:right", Verdict::Allowed),
        ("alice:right", Verdict::Allowed),
        ("alice:wrong", Verdict::Wrong),
        ("alice:", Verdict::Wrong),
        ("alice", Verdict::Wrong),
        ("alic:eright", Verdict::Wrong),
        ("bob:right", Verdict::Wrong),
        (":", Verdict::Wrong),
    ];
    for (credentials, expected) in table {
        let verdict = gate.admit(&users, &asking(credentials), PEER).await;
        assert_eq!(verdict, expected, "{credentials}");
    }
    let none = gate.admit(&users, &HeaderMap::new(), PEER).await;
    assert_eq!(none, Verdict::Wrong);
    let nobody = Users::default();
    let verdict = gate.admit(&nobody, &HeaderMap::new(), PEER).await;
    assert_eq!(verdict, Verdict::Allowed);
}

#[tokio::test]
async fn a_changed_password_is_not_remembered() {
    let gate = PasswordGate::new().unwrap();
    let asked = asking("alice:right");
    assert_eq!(gate.admit(&users(4), &asked, PEER).await, Verdict::Allowed);
    let hash = bcrypt::hash("new", 4).unwrap();
    let changed = Users::new(BTreeMap::from([("alice".to_owned(), hash)]));
    assert_eq!(gate.admit(&changed, &asked, PEER).await, Verdict::Wrong);
}

#[tokio::test]
async fn whoever_guesses_holds_up_neither_the_known_nor_other_addresses() {
    let (gate, users) = (Arc::new(PasswordGate::new().unwrap()), users(8));
    let known = asking("alice:right");
    assert_eq!(gate.admit(&users, &known, PEER).await, Verdict::Allowed);
    let guesses: Vec<_> = (0..20)
        .map(|guess| {
            let (gate, users) = (Arc::clone(&gate), users.clone());
            let asked = asking(&format!("alice:{guess}"));
            tokio::spawn(async move { gate.admit(&users, &asked, PEER).await })
        })
        .collect();
    tokio::task::yield_now().await;
    // It waits for nobody: the answer is there when it is asked for.
    let at_once = tokio::time::timeout(Duration::ZERO, gate.admit(&users, &known, PEER));
    assert_eq!(at_once.await, Ok(Verdict::Allowed));
    let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let elsewhere = gate.admit(&users, &asking("alice:guess"), other).await;
    assert_eq!(elsewhere, Verdict::Wrong, "it had its turn");
    let mut crowded = 0;
    for guess in guesses {
        match guess.await.unwrap() {
            Verdict::Crowded => crowded += 1,
            verdict => assert_eq!(verdict, Verdict::Wrong),
        }
    }
    assert_eq!(crowded, 20 - MAX_WAITING_OF_ONE);
    assert!(lock(&gate.waiting).is_empty());
}

#[test]
fn what_is_not_basic_is_no_password() {
    for value in [
        "",
        "Basic",
        "Basic !",
        "Basic Og",
        "Bearer YTpi",
        "Basic gP86Yg==",
    ] {
        let header = HeaderValue::try_from(value).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
        assert_eq!(parse_credentials(&headers), None, "{value}");
    }
    let asked = asking("a:b:c");
    let expected = Some(("a".to_owned(), b"b:c".to_vec()));
    assert_eq!(parse_credentials(&asked), expected);
}
