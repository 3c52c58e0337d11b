//! Prints docs/top.svg: a screen of `rstmon top` over the events of docs/top-demo.jsonl, which are made
//! up. `cargo run -p rstmon --example render_top > docs/top.svg`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for this repository's documentation"
)]

use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use rstmon::board::Board;
use rstmon::event::capture::CaptureFacts;
use rstmon::event::json_line::parse_json_line;
use rstmon::event::model::Event;
use rstmon::metrics::tally::TallySettings;
use rstmon::top::columns::CellContext;
use rstmon::top::state::{Header, State};
use rstmon::top::theme::Theme;
use rstmon::top::update::{Action, Feed, update};
use rstmon::top::view::draw;

const EVENTS: &str = include_str!("../../docs/top-demo.jsonl");
const WIDTH: u16 = 120;
const HEIGHT: u16 = 24;
/// Size of a cell in the picture.
const CELL: (u16, u16) = (8, 17);

fn main() {
    print!("{}", picture());
}

fn picture() -> String {
    let events: Vec<Event> = EVENTS
        .lines()
        .map(|line| parse_json_line(line.as_bytes()).unwrap())
        .collect();
    let mut board = Board::new(TallySettings::default());
    for event in &events {
        board.record(event);
    }
    let header = Header {
        source: "agent".to_owned(),
        facts: CaptureFacts {
            host: "web1".to_owned(),
            kernel: "6.12.57".to_owned(),
            mode: "probe".to_owned(),
            ..CaptureFacts::default()
        },
    };
    let context = CellContext {
        now_ns: 0,
        unicode: true,
        time_zone: TimeZone::UTC,
    };
    let mut state = State::new(header, String::new(), context);
    let feed = Feed {
        board: board.snapshot(0),
        events,
        lost: Some(0),
        ..Feed::default()
    };
    update(&mut state, Action::Feed(Box::new(feed)));
    let mut terminal = Terminal::new(TestBackend::new(WIDTH, HEIGHT)).unwrap();
    terminal
        .draw(|frame| draw(frame, &state, Theme::new(true)))
        .unwrap();
    render_svg(terminal.backend().buffer())
}

fn render_svg(buffer: &Buffer) -> String {
    let (width, height) = (WIDTH * CELL.0 + 16, HEIGHT * CELL.1 + 16);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"DejaVu Sans Mono,Menlo,Consolas,monospace\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1b1d23\"/>\n"
    );
    for (row, cells) in buffer.content().chunks(usize::from(WIDTH)).enumerate() {
        let baseline = 8 + (row as u16 + 1) * CELL.1 - 4;
        let mut column = 0;
        // Cells of one style are one text.
        for run in cells.chunk_by(|a, b| a.style() == b.style()) {
            svg.push_str(&render_run(run, 8 + column * CELL.0, baseline));
            column += run.len() as u16;
        }
    }
    svg + "</svg>\n"
}

fn render_run(run: &[Cell], x: u16, baseline: u16) -> String {
    let text: String = run.iter().map(Cell::symbol).collect();
    let Some(style) = run.first().map(Cell::style) else {
        return String::new();
    };
    let has = |modifier| style.add_modifier.contains(modifier);
    let mut color = match style.fg {
        Some(Color::Red) => "#f07178",
        Some(Color::Green) => "#a5d67a",
        Some(Color::Cyan) => "#6cc7e6",
        Some(Color::Yellow) => "#e9c46a",
        _ if has(Modifier::DIM) => "#8a8f9a",
        _ => "#d8dbe2",
    };
    let width = run.len() as u16 * CELL.0;
    let mut svg = String::new();
    if has(Modifier::REVERSED) {
        let top = baseline + 4 - CELL.1;
        svg = format!(
            "<rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{}\" fill=\"#d8dbe2\"/>\n",
            CELL.1
        );
        color = "#1b1d23";
    }
    if text.trim().is_empty() {
        return svg;
    }
    let weight = if has(Modifier::BOLD) {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    svg + &format!(
        "<text x=\"{x}\" y=\"{baseline}\" fill=\"{color}\"{weight} textLength=\"{width}\" \
         xml:space=\"preserve\">{text}</text>\n"
    )
}

#[cfg(test)]
#[test]
fn the_picture_in_docs_is_what_is_drawn() {
    let kept = include_str!("../../docs/top.svg");
    // Not `assert_eq`: two pictures say nothing to a reader.
    assert!(
        kept == picture(),
        "docs/top.svg is stale: cargo run -p rstmon --example render_top > docs/top.svg"
    );
}
