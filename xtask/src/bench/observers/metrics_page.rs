//! A page of the agent's metrics, as far as the bench reads it.

use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A scrape that takes longer has failed.
const SCRAPE_LIMIT: Duration = Duration::from_secs(10);

/// Samples of a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MetricsPage(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    family: String,
    /// As the page has them, without the braces.
    labels: String,
    value: f64,
}

impl MetricsPage {
    /// Asks the agent.
    pub(super) fn scrape(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(SCRAPE_LIMIT))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        // To its end: a connection that is closed with data unread would be reset.
        stream
            .read_to_string(&mut answer)
            .context("the agent does not answer a scrape")?;
        Self::parse_answer(&answer)
    }

    fn parse_answer(answer: &str) -> anyhow::Result<Self> {
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("the agent's answer has no body")?;
        let status = head.lines().next().unwrap_or_default();
        ensure!(
            status.split(' ').nth(1) == Some("200"),
            "the agent answered a scrape with {status}"
        );
        body.lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| parse_sample(line).with_context(|| format!("no sample: {line}")))
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    /// Sum of a family's samples, of those with this label where one is given.
    pub(super) fn sum(&self, family: &str, label: Option<(&str, &str)>) -> u64 {
        let wanted = label.map(|(name, value)| format!("{name}=\"{value}\""));
        self.of(family)
            .filter(|sample| {
                wanted
                    .as_ref()
                    .is_none_or(|wanted| sample.labels.split(',').any(|label| label == wanted))
            })
            .map(|sample| as_count(sample.value))
            .sum()
    }

    /// Samples of a family with one label, by its value.
    pub(super) fn by_label(&self, family: &str) -> BTreeMap<String, u64> {
        self.of(family)
            .filter_map(|sample| {
                let (_, value) = sample.labels.split_once('=')?;
                Some((value.trim_matches('"').to_owned(), as_count(sample.value)))
            })
            .collect()
    }

    fn of(&self, family: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.family == family)
    }
}

/// `family{labels} value` or `family value`.
fn parse_sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (family, labels) = match series.split_once('{') {
        Some((family, labels)) => (family, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    Some(Sample {
        family: family.to_owned(),
        labels: labels.to_owned(),
        value: value.parse().ok()?,
    })
}

/// Counts are whole and not negative.
#[expect(
    clippy::cast_sign_loss,
    reason = "a negative count would be a fault of the page and saturates to 0"
)]
fn as_count(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::MetricsPage;
    use std::collections::BTreeMap;

    const ANSWER: &str = "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n\
        # TYPE rstmon_kernel_resets_total counter\n\
        rstmon_kernel_resets_total{family=\"ipv4\",kind=\"sent\",reason=\"NO_SOCKET\"} 1e+06\n\
        rstmon_kernel_resets_total{family=\"ipv6\",kind=\"sent\",reason=\"NO_SOCKET\"} 2\n\
        rstmon_kernel_resets_total{family=\"ipv4\",kind=\"received\",reason=\"\"} 3\n\
        rstmon_events_lost_total{stage=\"ring\"} 4\n\
        rstmon_events_lost_total{stage=\"storm-budget\"} 5\n\
        rstmon_events_in_flight 6\n";

    #[test]
    fn a_page_is_summed_by_family_and_label() {
        let page = MetricsPage::parse_answer(ANSWER).unwrap();
        let resets = "rstmon_kernel_resets_total";
        assert_eq!(page.sum(resets, None), 1_000_005);
        assert_eq!(page.sum(resets, Some(("kind", "sent"))), 1_000_002);
        assert_eq!(page.sum("rstmon_events_in_flight", None), 6);
        assert_eq!(
            page.by_label("rstmon_events_lost_total"),
            BTreeMap::from([("ring".to_owned(), 4), ("storm-budget".to_owned(), 5)])
        );
    }

    #[test]
    fn what_is_no_page_is_refused() {
        assert!(MetricsPage::parse_answer("").is_err());
        assert!(MetricsPage::parse_answer(&ANSWER.replace("200 OK", "503 Busy")).is_err());
        assert!(MetricsPage::parse_answer(&ANSWER.replace(" 1e+06", " many")).is_err());
    }
}
