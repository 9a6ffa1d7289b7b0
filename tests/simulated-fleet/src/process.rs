//! What a running process has used, by `/proc`.

use std::fs;
use std::time::Duration;

/// The most memory that the process ever held resident; none when it has ended, or where there is no `/proc`.
pub fn peak_memory_kib(process_id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// Has the process ended? One that nobody has waited for yet has, and its CPU time can still be read.
pub fn has_ended(process_id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// The CPU time that the process has used so far; none when somebody has waited for its end, or where there is no `/proc`.
pub fn cpu_time(process_id: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
    // The name in brackets may hold anything. `utime` and `stime` are the 14th and 15th field, in hundredths.
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Some(Duration::from_millis(ticks.sum::<Result<u64, _>>().ok()?.saturating_mul(10)))
}
