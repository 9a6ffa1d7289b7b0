//! Where and when it was measured.

use std::fs;

use jiff::Timestamp;

/// The day and the machine, in words.
pub fn day_and_machine() -> String {
    format!(
        "{}, {} cores of {}",
        today(),
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        processor().unwrap_or_else(|| "an unknown processor".to_owned()),
    )
}

#[expect(clippy::disallowed_methods, reason = "the day on which it was measured")]
fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    info.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()))
}
