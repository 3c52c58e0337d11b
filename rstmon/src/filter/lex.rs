//! An expression as words and signs, each with its place.
//!
//! Made for `parse`, which gives the words their meaning.

use super::error::{Fault, FilterError};
use super::values;
use std::ops::Range;
use winnow::combinator::{alt, delimited, repeat};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location};
use winnow::token::{none_of, take_while};

type Input<'a> = LocatingSlice<&'a str>;
type Lexed<T> = Result<T, EmptyError>;

/// A word or sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    /// What stood between quotes; a doubled quote is one.
    Quoted(String),
    Open,
    Close,
    BraceOpen,
    BraceClose,
    Comma,
    Not,
    And,
    Or,
    Ampersand,
    Bar,
    Tilde,
    Compare(Comparison),
}

/// How a field is compared with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A token and the bytes of the expression that it came from.
pub(super) type Placed<'a> = (Token<'a>, Range<usize>);

/// All tokens. The one thing that can be wrong here is a quote that is never closed.
pub(super) fn lex(expression: &str) -> Result<Vec<Placed<'_>>, FilterError> {
    let mut input = LocatingSlice::new(expression);
    let mut tokens = Vec::new();
    loop {
        skip_blanks(&mut input);
        if input.is_empty() {
            return Ok(tokens);
        }
        let start = input.current_token_start();
        let Ok((token, span)) = token.with_span().parse_next(&mut input) else {
            let fault = Fault::new("this quote is not closed")
                .help("close it; a quote inside quotes is written twice");
            return Err(FilterError::new(expression, start..start + 1, fault));
        };
        match token {
            Token::Word(word) => split_colon(word, span, &mut tokens),
            token => tokens.push((token, span)),
        }
    }
}

fn skip_blanks(input: &mut Input<'_>) {
    let _: Lexed<&str> = take_while(0.., char::is_whitespace).parse_next(input);
}

fn token<'a>(input: &mut Input<'a>) -> Lexed<Token<'a>> {
    alt((word.map(Token::Word), quoted('\''), quoted('"'), sign)).parse_next(input)
}

fn word<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    take_while(1.., |c: char| {
        !c.is_whitespace() && !"(){},=!<>&|~'\"".contains(c)
    })
    .parse_next(input)
}

fn quoted<'a>(quote: char) -> impl Parser<Input<'a>, Token<'a>, EmptyError> {
    let inside = repeat(0.., alt((none_of(quote), (quote, quote).value(quote))));
    delimited(quote, inside, quote).map(Token::Quoted)
}

fn sign<'a>(input: &mut Input<'a>) -> Lexed<Token<'a>> {
    let compare = alt((
        "==".value(Comparison::Equal),
        "=".value(Comparison::Equal),
        "!=".value(Comparison::NotEqual),
        "<=".value(Comparison::LessOrEqual),
        "<".value(Comparison::Less),
        ">=".value(Comparison::GreaterOrEqual),
        ">".value(Comparison::Greater),
    ))
    .map(Token::Compare);
    let single = alt((
        "(".value(Token::Open),
        ")".value(Token::Close),
        "{".value(Token::BraceOpen),
        "}".value(Token::BraceClose),
        ",".value(Token::Comma),
        "!".value(Token::Not),
        "&".value(Token::Ampersand),
        "|".value(Token::Bar),
        "~".value(Token::Tilde),
    ));
    alt((
        compare,
        "&&".value(Token::And),
        "||".value(Token::Or),
        single,
    ))
    .parse_next(input)
}

/// `port:80` is the field `port`, an equals sign and `80`; other colons belong to their word.
fn split_colon<'a>(word: &'a str, span: Range<usize>, tokens: &mut Vec<Placed<'a>>) {
    match word.split_once(':') {
        Some((field, value)) if values::is_field_name(field) => {
            let colon = span.start + field.len();
            tokens.push((Token::Word(field), span.start..colon));
            tokens.push((Token::Compare(Comparison::Equal), colon..colon + 1));
            if !value.is_empty() {
                tokens.push((Token::Word(value), colon + 1..span.end));
            }
        }
        _ => tokens.push((Token::Word(word), span)),
    }
}
