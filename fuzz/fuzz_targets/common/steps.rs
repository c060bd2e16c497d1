//! Cuts a fuzzer's input into steps.

/// Returns the steps of an input. Each begins with a byte that says what is done, and the length of the bytes that follow.
pub(crate) fn steps(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[operation, len], after) = input.split_first_chunk()?;
        let (bytes, after) = after.split_at(after.len().min(len.into()));
        input = after;
        Some((operation, bytes))
    })
}
