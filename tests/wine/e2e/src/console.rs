//! Progress of a run. The run reports its steps; the caller decides how to show them.

use crate::error::E2eError;

/// Receives the steps of a run.
pub trait Console {
    /// A step begins.
    fn begin(&mut self, step: &str);
    /// The state of the current step; replaces the state before.
    fn detail(&mut self, text: &str);
    /// The current step succeeded.
    fn end(&mut self);
    /// The current step failed; the error is returned by the run.
    fn fail(&mut self);
    /// A line that stays.
    fn line(&mut self, text: &str);
}

/// Runs one step, and adds its name to its error.
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
            Err(E2eError::Step(name.into(), Box::new(source)))
        }
    }
}
