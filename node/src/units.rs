//! Units on the command line: `20s`, `500ms`, `64K`, `2@8s`.

use std::net::SocketAddr;
use std::time::Duration;

/// Something that happens to one validator at a time after the load starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Index of the validator.
    pub validator: usize,
    /// How long after the start of the load.
    pub after: Duration,
}

/// `500ms`, `20s`, `1.5s` or `2m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const ALLOWED: &str = "a number with unit ms, s or m, such as 500ms or 20s";
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(ALLOWED)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| ALLOWED)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(ALLOWED.into()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| ALLOWED.into())
}

/// `512`, `64K` or `1M`; K and M are powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const ALLOWED: &str = "a number of bytes, such as 512, 64K or 1M";
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| ALLOWED)?;
    number.checked_mul(1 << shift).ok_or_else(|| ALLOWED.into())
}

/// `10.0.0.7:27000`; names are not looked up.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "IP:PORT, such as 10.0.0.7:27000 or [fd00::7]:27000".into())
}

/// `2@8s`.
pub fn parse_at(text: &str) -> Result<At, String> {
    const ALLOWED: &str = "VALIDATOR@TIME, such as 2@8s";
    let (validator, after) = text.split_once('@').ok_or(ALLOWED)?;
    Ok(At { validator: validator.parse().map_err(|_| ALLOWED)?, after: parse_duration(after).map_err(|_| ALLOWED)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_and_understood() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["20", "s", "-1s", "20h", "1e400s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!((parse_size("512"), parse_size("64K"), parse_size("1m")), (Ok(512), Ok(65536), Ok(1 << 20)));
        assert!(parse_size("K").is_err() && parse_size("99999999999999M").is_err());
        assert_eq!(parse_at("2@8s"), Ok(At { validator: 2, after: Duration::from_secs(8) }));
        assert!(parse_at("x@8s").is_err() && parse_at("2@8").is_err());
    }
}
