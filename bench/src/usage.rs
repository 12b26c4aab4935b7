//! Resource usage of a process, from /proc.

use anyhow::Context;

/// The unit of the kernel for programs, whatever its own tick is.
const TICKS_PER_S: u64 = 100;

/// CPU time in user and kernel mode, of all threads, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    ticks(&stat).map(|ticks| ticks * 1_000_000 / TICKS_PER_S).with_context(|| path)
}

/// The peak of resident memory, in MiB.
pub(crate) fn peak_rss_mib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    peak_kib(&status).map(|kib| kib as f64 / 1_024.0).with_context(|| path)
}

/// The sum of the 14th and the 15th field. The second field, the name, may contain spaces and
/// parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 500 0 0 0 120 30 0 0 20 0 4 0 100 0 0";
        assert_eq!(ticks(stat), Some(150));
    }

    #[test]
    fn the_peak_is_read_in_kibibytes() {
        assert_eq!(peak_kib("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t  2048 kB\n"), Some(2_048));
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(peak_rss_mib(std::process::id()).unwrap() > 0.0);
        cpu_us(std::process::id()).unwrap();
    }
}
