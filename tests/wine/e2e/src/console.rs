//! What a run shows while it goes on. The run says what happens; the caller decides how it looks.

use crate::error::E2eError;

/// Receives the steps of a run.
pub trait Console {
    /// A step begins.
    fn begin(&mut self, step: &str);
    /// What the step is doing at the moment; replaces what it was doing before.
    fn detail(&mut self, text: &str);
    /// The step that began last ended well.
    fn end(&mut self);
    /// The step that began last failed; the error follows by another way.
    fn fail(&mut self);
    /// A line that stays.
    fn line(&mut self, text: &str);
}

/// Runs one step, and puts its name to what goes wrong in it.
pub fn step<T>(
    console: &mut dyn Console,
    name: &str,
    work: impl FnOnce(&mut dyn Console) -> Result<T, E2eError>,
) -> Result<T, E2eError> {
    console.begin(name);
    match work(console) {
        Ok(result) => {
            console.end();
            Ok(result)
        }
        Err(source) => {
            console.fail();
            Err(E2eError::Step { step: name.into(), source: Box::new(source) })
        }
    }
}
