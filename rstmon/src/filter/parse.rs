//! From tokens to an expression.
//!
//! ```text
//! any      = all { or all }
//! all      = one { and one }            after `state …` the `and` may be left out, as in ss
//! one      = not one | "(" any ")" | test
//! test     = field [comparison] values | protocol [test] | address | flags-test
//! values   = value { "," value } | "(" value { ("," | or) value } ")" | "{" … "}"
//! ```
//!
//! `and` binds more tightly than `or`, as in ss (tcpdump gives them the same rank).

use super::error::{Fault, FilterError};
use super::expr::{Expr, MAX_DEPTH, Span, Test};
use super::lex::{Comparison, Placed, Token, lex};
use super::values::{self, Field, Value};
use crate::event::model::Family;
use std::ops::Range;

/// Reads a whole expression.
pub(super) fn parse_expression(text: &str) -> Result<Expr, FilterError> {
    let tokens = lex(text)?;
    if tokens.is_empty() {
        return Ok(Expr::All);
    }
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        end: text.len(),
        depth: 0,
        last: None,
    };
    let whole = parser.any().and_then(|expr| match parser.peek() {
        None => Ok(expr),
        Some(Token::Close) => Err(parser.here(Fault::new("no parenthesis is open here"))),
        Some(_) => Err(parser.here(Fault::new("expected `and` or `or`").help(
            "join tests with `and` or `or`; several values of a field are a list: `port 80,443`",
        ))),
    });
    whole.map_err(|(span, fault)| FilterError::new(text, span, fault))
}

type PlacedFault = (Range<usize>, Fault);
type Parsed<T> = Result<T, PlacedFault>;

struct Parser<'t> {
    tokens: &'t [Placed<'t>],
    at: usize,
    /// Length of the expression, the place of what is missing at its end.
    end: usize,
    depth: usize,
    /// Field of the test before, which tcpdump users leave out: `port 80 or 443`.
    last: Option<Field>,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token<'t>> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn peek_word(&self) -> Option<&'t str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn span(&self) -> Range<usize> {
        self.tokens
            .get(self.at)
            .map_or(self.end..self.end, |(_, span)| span.clone())
    }

    fn here(&self, fault: Fault) -> PlacedFault {
        (self.span(), fault)
    }

    fn take(&mut self, token: &Token<'_>) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let taken = self
            .peek_word()
            .is_some_and(|found| found.eq_ignore_ascii_case(word));
        self.at += usize::from(taken);
        taken
    }

    /// Runs `inner` one level deeper, unless that is too deep.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return Err(
                self.here(
                    Fault::new("the expression is nested too deeply").help(format!(
                        "at most {MAX_DEPTH} parentheses and `not`s may enclose one another"
                    )),
                ),
            );
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn any(&mut self) -> Parsed<Expr> {
        let mut parts = vec![self.all()?];
        while self.take(&Token::Or) || self.take_word("or") {
            parts.push(self.all()?);
        }
        Ok(Expr::any(parts))
    }

    fn all(&mut self) -> Parsed<Expr> {
        let mut parts = vec![self.one()?];
        while self.take(&Token::And) || self.take_word("and") || self.follows_state(&parts) {
            parts.push(self.one()?);
        }
        Ok(Expr::all(parts))
    }

    /// ss takes its state first and the rest of the filter after it without a joint.
    fn follows_state(&self, parts: &[Expr]) -> bool {
        let begins_test = match self.peek() {
            Some(Token::Word(word)) => !is_joint(word),
            Some(Token::Open | Token::Not) => true,
            _ => false,
        };
        begins_test && matches!(parts, [Expr::Test(Test::State(_))])
    }

    fn one(&mut self) -> Parsed<Expr> {
        if self.take(&Token::Not) || self.take_word("not") {
            return self.deeper(|parser| Ok(Expr::Not(Box::new(parser.one()?))));
        }
        let opened = self.span();
        if self.take(&Token::Open) {
            return self.deeper(|parser| {
                let inner = parser.any()?;
                if parser.take(&Token::Close) {
                    return Ok(inner);
                }
                Err((
                    opened,
                    Fault::new("this parenthesis is not closed").help("add `)`"),
                ))
            });
        }
        self.test()
    }

    fn test(&mut self) -> Parsed<Expr> {
        let Some(word) = self.peek_word() else {
            let fault = Fault::new("expected a test").help(values::FIELD_LIST);
            return Err(self.here(fault));
        };
        if word
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("tcp["))
        {
            return self.flags_test();
        }
        if let Some(protocol) = protocol(word) {
            self.at += 1;
            return self.after_protocol(protocol);
        }
        if is_joint(word) {
            return Err(self.here(Fault::new(format!("expected a test before `{word}`"))));
        }
        match self.field(word)? {
            Some(field) => self.comparison(field),
            None => self.without_field(word),
        }
    }

    /// `tcp port 80`: the protocol and the test are one, also below a `not`.
    fn after_protocol(&mut self, protocol: Expr) -> Parsed<Expr> {
        match self.peek_word() {
            Some(word) if !is_joint(word) && !word.eq_ignore_ascii_case("not") => {
                self.deeper(|parser| Ok(Expr::all(vec![protocol, parser.test()?])))
            }
            _ => Ok(protocol),
        }
    }

    /// The field that begins here, with its end if it names one.
    fn field(&mut self, word: &str) -> Parsed<Option<Field>> {
        if let Some(field) = values::field(word) {
            self.at += 1;
            return Ok(Some(field));
        }
        let Some(end) = values::end(word) else {
            return Ok(None);
        };
        self.at += 1;
        // `src 192.0.2.1` is short for `src host 192.0.2.1`.
        let Some(field) = self.peek_word().and_then(values::field) else {
            return Ok(Some(Field::Address(end)));
        };
        let field = match field {
            Field::Port(_) => Field::Port(end),
            Field::Address(_) => Field::Address(end),
            other => {
                let fault = Fault::new(format!("`{}` has no ends", other.name()))
                    .help(format!("after `{word}` comes host, net or port"));
                return Err(self.here(fault));
            }
        };
        self.at += 1;
        Ok(Some(field))
    }

    /// A value whose field was named in the test before, or an address, which needs none.
    fn without_field(&mut self, word: &str) -> Parsed<Expr> {
        let value = Value {
            text: word,
            quoted: false,
        };
        if let Some(field) = self.last.filter(|field| field.rejects_other_words())
            && field.test(value).is_ok()
        {
            return self.values(field).map(Expr::Test);
        }
        if word.contains(['.', ':']) && values::network(word).is_ok() {
            return self
                .values(Field::Address(super::expr::End::Either))
                .map(Expr::Test);
        }
        Err(self.here(values::unknown_field(word)))
    }

    fn comparison(&mut self, field: Field) -> Parsed<Expr> {
        let at_comparison = self.span();
        match self.take_comparison()? {
            Comparison::Equal => self.values(field).map(Expr::Test),
            Comparison::NotEqual => {
                self.deeper(|parser| Ok(Expr::Not(Box::new(Expr::Test(parser.values(field)?)))))
            }
            order => self.ordered(field, order, at_comparison).map(Expr::Test),
        }
    }

    fn take_comparison(&mut self) -> Parsed<Comparison> {
        const WORDS: &[(&str, Comparison)] = &[
            ("in", Comparison::Equal),
            ("eq", Comparison::Equal),
            ("ne", Comparison::NotEqual),
            ("neq", Comparison::NotEqual),
            ("lt", Comparison::Less),
            ("le", Comparison::LessOrEqual),
            ("gt", Comparison::Greater),
            ("ge", Comparison::GreaterOrEqual),
        ];
        match self.peek() {
            Some(Token::Compare(comparison)) => {
                self.at += 1;
                return Ok(*comparison);
            }
            Some(Token::Tilde) => {
                return Err(self.here(
                    Fault::new("regular expressions are not supported")
                        .help("leave out `~`; `*` and `?` work in names: `comm 'ngin*'`"),
                ));
            }
            _ => {}
        }
        if self.take_word("not") {
            return if self.take_word("in") {
                Ok(Comparison::NotEqual)
            } else {
                Err(self.here(Fault::new("expected `in` after `not`")))
            };
        }
        for (word, comparison) in WORDS {
            if self.take_word(word) {
                return Ok(*comparison);
            }
        }
        Ok(Comparison::Equal)
    }

    /// `port > 1024`.
    fn ordered(&mut self, field: Field, order: Comparison, sign: Range<usize>) -> Parsed<Test> {
        let Some(highest) = field.highest() else {
            let fault = Fault::new(format!("`{}` has no order", field.name()))
                .help("use `=`, `!=` or a list of values");
            return Err((sign, fault));
        };
        let at_value = self.span();
        let Some(word) = self.peek_word() else {
            return Err(self.here(Fault::new("expected a number")));
        };
        let number = field.number(word).map_err(|fault| self.here(fault))?;
        self.at += 1;
        let (first, last) = match order {
            Comparison::Less => (Some(0), number.checked_sub(1)),
            Comparison::LessOrEqual => (Some(0), Some(number)),
            Comparison::Greater => (number.checked_add(1), Some(highest)),
            _ => (Some(number), Some(highest)),
        };
        let span = first.zip(last).filter(|(first, last)| first <= last);
        let Some((first, last)) = span else {
            let fault = Fault::new(format!("no {} is beyond {number}", field.name()))
                .help(format!("they go from 0 to {highest}"));
            return Err((at_value, fault));
        };
        self.last = Some(field);
        let spans = vec![Span { first, last }];
        Ok(match field {
            Field::Netns => Test::Netns(spans),
            Field::Port(end) => Test::Port(end, spans),
            _ => Test::Pid(spans),
        })
    }

    fn values(&mut self, field: Field) -> Parsed<Test> {
        self.last = Some(field);
        let opened = self.span();
        let close = if self.take(&Token::Open) {
            Some(Token::Close)
        } else if self.take(&Token::BraceOpen) {
            Some(Token::BraceClose)
        } else {
            None
        };
        let mut test = self.value(field)?;
        while self.take(&Token::Comma) || (close.is_some() && self.take_or()) {
            test.join(self.value(field)?);
        }
        match close {
            Some(close) if !self.take(&close) => Err(match self.peek() {
                None => (opened, Fault::new("this list is not closed")),
                Some(_) => self.here(Fault::new("expected `,` or the end of the list")),
            }),
            _ => Ok(test),
        }
    }

    fn take_or(&mut self) -> bool {
        self.take(&Token::Or) || self.take(&Token::Bar) || self.take_word("or")
    }

    fn value(&mut self, field: Field) -> Parsed<Test> {
        let value = match self.peek() {
            Some(Token::Quoted(text)) => Value { text, quoted: true },
            Some(Token::Word(word)) if !is_joint(word) && !word.eq_ignore_ascii_case("not") => {
                Value {
                    text: word,
                    quoted: false,
                }
            }
            _ => return Err(self.here(Fault::new(format!("`{}` needs a value", field.name())))),
        };
        let test = field.test(value).map_err(|fault| self.here(fault))?;
        self.at += 1;
        Ok(test)
    }

    /// `tcp[tcpflags] & tcp-rst != 0`: true of every event. Any other test of bytes is refused.
    fn flags_test(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let rest: Vec<&Token<'_>> = self
            .tokens
            .get(self.at..)
            .unwrap_or_default()
            .iter()
            .map(|(token, _)| token)
            .filter(|token| !matches!(token, Token::Open | Token::Close))
            .take(5)
            .collect();
        let is_reset_test = matches!(
            rest.as_slice(),
            [
                Token::Word("tcp[tcpflags]" | "tcp[13]"),
                Token::Ampersand,
                Token::Word("tcp-rst" | "4" | "0x04" | "0x4"),
                Token::Compare(comparison),
                Token::Word(number),
            ] if match comparison {
                Comparison::NotEqual => *number == "0",
                Comparison::Equal => matches!(*number, "tcp-rst" | "4" | "0x04" | "0x4"),
                _ => false,
            }
        );
        if !is_reset_test {
            return Err((
                start,
                Fault::new("bytes of the packet cannot be tested")
                    .help("every event is a RST already: leave the test of the flags out"),
            ));
        }
        // tcpdump users put the mask into parentheses: tcp[tcpflags] & (tcp-rst) != 0.
        let mut left = 5;
        while left > 0 {
            left -= usize::from(!matches!(self.peek(), Some(Token::Open | Token::Close)));
            self.at += 1;
        }
        Ok(Expr::All)
    }
}

fn is_joint(word: &str) -> bool {
    word.eq_ignore_ascii_case("and") || word.eq_ignore_ascii_case("or")
}

fn protocol(word: &str) -> Option<Expr> {
    match word.to_ascii_lowercase().as_str() {
        "tcp" => Some(Expr::All),
        "ip" | "ipv4" | "inet" => Some(Expr::Test(Test::Family(Family::Ipv4))),
        "ip6" | "ipv6" | "inet6" => Some(Expr::Test(Test::Family(Family::Ipv6))),
        _ => None,
    }
}
