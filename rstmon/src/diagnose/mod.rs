//! Why a reset happened: an event in, a verdict with its evidence out.

pub mod key_facts;
/// tmp
#[derive(Debug, Default)]
pub struct Engine;
impl Engine {
    /// tmp
    pub fn new() -> Self {
        Self
    }
    /// tmp
    pub fn diagnose(&mut self, _: &mut crate::event::model::Event) {}
}
